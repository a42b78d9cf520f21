//! The façade against a chain in memory.

use alloy_primitives::{U256, address, keccak256};
use proptest::prelude::*;

use super::*;
use crate::engines::chain::eip3009;

const OWNER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const OTHER: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
const HASH: B256 = B256::repeat_byte(0x77);
const NONCE: B256 = B256::repeat_byte(0x11);
const NOW: i64 = 1_781_863_201;

struct Memory;

impl ChainReader for Memory {
    async fn balance(&self, token: &'static Token, owner: Address) -> Result<i64, DatabaseError> {
        Ok(if token.chain == Chain::BaseSepolia && owner == OWNER { 250_000 } else { 0 })
    }
    async fn total_supply(&self, _: &'static Token) -> Result<i64, DatabaseError> {
        Ok(1_000_000)
    }
    async fn is_used(&self, _: &'static Token, authorizer: Address, nonce: B256) -> Result<bool, DatabaseError> {
        if authorizer == OTHER {
            return Err(DatabaseError::Unavailable("down".into()));
        }
        Ok(nonce == NONCE)
    }
    async fn transfers(&self, chain: Chain, hash: B256) -> Result<Vec<TransferRecord>, DatabaseError> {
        let transfer = TransferRecord {
            log_index: 0,
            from: OWNER,
            to: OTHER,
            token: chain.token().address,
            amount: 100_000,
            nonce: Some(NONCE),
            at: now(),
        };
        Ok(if chain == Chain::BaseSepolia && hash == HASH { vec![transfer] } else { Vec::new() })
    }
    async fn fund(&self, _: Chain, address: Address) -> Result<B256, FundError> {
        if address == OWNER { Ok(HASH) } else { Err(FundError::Refused("once an hour".into())) }
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000).unwrap()
}

async fn send(chain: Chain, body: &str) -> Option<Value> {
    handle(&Memory, chain, now(), body.as_bytes()).await
}

async fn ask(chain: Chain, method: &str, params: Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let answer = send(chain, &request.to_string()).await.unwrap();
    assert_eq!(answer["id"], 7);
    answer
}

async fn call(chain: Chain, selector: &str, words: &[B256]) -> Value {
    let data = format!("0x{selector}{}", words.iter().map(hex::encode).collect::<String>());
    ask(chain, "eth_call", json!([{"data": data, "to": chain.token().address}, "latest"])).await
}

fn word(number: u64) -> String {
    B256::from(U256::from(number)).to_string()
}

fn abi_text(text: &str) -> String {
    let padded = format!("{:0<64}", hex::encode(text));
    format!("{}{}{padded}", word(32), &word(text.len() as u64)[2..])
}

#[tokio::test]
async fn constants_of_each_chain() {
    for (chain, id, version) in [
        (Chain::BaseSepolia, "0x14a34", "84532"),
        (Chain::Base, "0x2105", "8453"),
        (Chain::TempoModerato, "0xa5bf", "42431"),
    ] {
        assert_eq!(ask(chain, "eth_chainId", json!([])).await["result"], id);
        assert_eq!(ask(chain, "net_version", json!([])).await["result"], version);
        assert_eq!(ask(chain, "eth_gasPrice", json!([])).await["result"], "0x3b9aca00");
        assert_eq!(ask(chain, "eth_maxPriorityFeePerGas", json!([])).await["result"], "0x3b9aca00");
        assert_eq!(ask(chain, "eth_estimateGas", json!([{}])).await["result"], "0xc350");
        assert_eq!(ask(chain, "eth_getBalance", json!([OWNER, "latest"])).await["result"], "0x0");
        assert_eq!(ask(chain, "eth_getTransactionCount", json!([OWNER, "latest"])).await["result"], "0x0");
        assert_eq!(ask(chain, "eth_getCode", json!([chain.token().address, "latest"])).await["result"], "0x60");
        assert_eq!(ask(chain, "eth_getCode", json!([OWNER, "latest"])).await["result"], "0x");
    }
}

#[tokio::test]
async fn the_token_answers_what_wallets_read() {
    let sepolia = Chain::BaseSepolia;
    let cases = [
        ("70a08231", vec![OWNER.into_word()], word(250_000)),
        ("70a08231", vec![OTHER.into_word()], word(0)),
        ("313ce567", vec![], word(6)),
        ("18160ddd", vec![], word(1_000_000)),
        ("95d89b41", vec![], abi_text("USDC")),
        ("06fdde03", vec![], abi_text("USDC")),
        ("54fd4d50", vec![], abi_text("2")),
        ("3644e515", vec![], eip3009::domain(sepolia.token()).separator().to_string()),
        ("e94a0102", vec![OWNER.into_word(), NONCE], word(1)),
        ("e94a0102", vec![OWNER.into_word(), HASH], word(0)),
        ("dd62ed3e", vec![OWNER.into_word(), OTHER.into_word()], word(0)),
        ("7ecebe00", vec![OWNER.into_word()], word(0)),
    ];
    for (selector, words, expected) in cases {
        assert_eq!(call(sepolia, selector, &words).await["result"], expected, "{selector}");
    }
    assert_eq!(call(Chain::Base, "70a08231", &[OWNER.into_word()]).await["result"], word(0));
    assert_eq!(call(Chain::Base, "06fdde03", &[]).await["result"], abi_text("USD Coin"));
    assert_eq!(call(Chain::TempoModerato, "95d89b41", &[]).await["result"], abi_text("pathUSD"));
}

#[tokio::test]
async fn calls_the_token_does_not_know_revert_and_other_addresses_are_empty() {
    let sepolia = Chain::BaseSepolia;
    let high = B256::repeat_byte(0xff);
    for (selector, words) in [
        ("deadbeef", vec![]),
        ("", vec![]),
        ("70a0", vec![]),
        ("70a08231", vec![]),
        ("70a08231", vec![high]),
        ("dd62ed3e", vec![OWNER.into_word()]),
    ] {
        let error = &call(sepolia, selector, &words).await["error"];
        assert_eq!(*error, json!({"code": 3, "message": "execution reverted"}), "{selector}");
    }
    let elsewhere = json!([{"to": OTHER, "data": "0x70a08231"}, "latest"]);
    assert_eq!(ask(sepolia, "eth_call", elsewhere).await["result"], "0x");
    let newer = json!([{"to": sepolia.token().address, "input": "0x313ce567"}]);
    assert_eq!(ask(sepolia, "eth_call", newer).await["result"], word(6));
}

#[tokio::test]
async fn bad_params_are_32602() {
    let token = Chain::BaseSepolia.token().address;
    for (method, params) in [
        ("eth_call", json!([])),
        ("eth_call", json!(["0x"])),
        ("eth_call", json!([{"to": "0x12", "data": "0x"}])),
        ("eth_call", json!([{"to": token, "data": "70a08231"}])),
        ("eth_call", json!([{"to": token, "data": "0x7"}])),
        ("eth_call", json!([{"to": token, "data": 5}])),
        ("eth_call", json!({"to": token})),
        ("eth_getBalance", json!([])),
        ("eth_getCode", json!(["0x12"])),
        ("eth_getTransactionReceipt", json!(["0x12"])),
        ("eth_getTransactionByHash", json!([null])),
        ("eth_getBlockByNumber", json!([])),
        ("eth_getBlockByNumber", json!(["newest"])),
        ("eth_getBlockByNumber", json!(["0x+1"])),
        ("eth_getBlockByNumber", json!(["0x"])),
    ] {
        assert_eq!(ask(Chain::BaseSepolia, method, params.clone()).await["error"]["code"], -32602, "{method} {params}");
    }
}

#[tokio::test]
async fn blocks_follow_the_clock() {
    let sepolia = Chain::BaseSepolia;
    let number = format!("{:#x}", NOW / 2);
    assert_eq!(ask(sepolia, "eth_blockNumber", json!([])).await["result"], number);
    let latest = ask(sepolia, "eth_getBlockByNumber", json!(["latest", false])).await["result"].clone();
    assert_eq!(latest["number"], number);
    assert_eq!(latest["timestamp"], format!("{NOW:#x}"));
    assert_eq!(latest["baseFeePerGas"], "0x3b9aca00");
    assert_eq!(latest["gasLimit"], "0x1c9c380");
    assert_eq!(latest["logsBloom"].as_str().unwrap().len(), 514);
    let parent = format!("{:#x}", NOW / 2 - 1);
    let parent = ask(sepolia, "eth_getBlockByNumber", json!([parent, false])).await["result"].clone();
    assert_eq!(parent["hash"], latest["parentHash"]);
    let future = format!("{:#x}", NOW / 2 + 1);
    assert_eq!(ask(sepolia, "eth_getBlockByNumber", json!([future, false])).await["result"], Value::Null);
}

#[tokio::test]
async fn receipts_carry_the_logs_of_the_token() {
    let receipt = ask(Chain::BaseSepolia, "eth_getTransactionReceipt", json!([HASH])).await["result"].clone();
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["transactionHash"], HASH.to_string());
    let logs = receipt["logs"].as_array().unwrap();
    let topic = |text: &str| keccak256(text).to_string();
    assert_eq!(logs[0]["topics"], json!([topic("AuthorizationUsed(address,bytes32)"), OWNER.into_word(), NONCE]));
    assert_eq!(
        logs[1]["topics"],
        json!([topic("Transfer(address,address,uint256)"), OWNER.into_word(), OTHER.into_word()])
    );
    assert_eq!(logs[1]["data"], word(100_000));
    assert_eq!((&logs[0]["logIndex"], &logs[1]["logIndex"]), (&json!("0x0"), &json!("0x1")));
    let transaction = ask(Chain::BaseSepolia, "eth_getTransactionByHash", json!([HASH])).await["result"].clone();
    assert_eq!(transaction["hash"], HASH.to_string());
    for method in ["eth_getTransactionReceipt", "eth_getTransactionByHash"] {
        assert_eq!(ask(Chain::BaseSepolia, method, json!([NONCE])).await["result"], Value::Null);
        assert_eq!(ask(Chain::Base, method, json!([HASH])).await["result"], Value::Null);
    }
}

#[tokio::test]
async fn only_tempo_funds_addresses_and_says_when_it_will_not() {
    let tempo = Chain::TempoModerato;
    assert_eq!(ask(tempo, "tempo_fundAddress", json!([OWNER])).await["result"], json!([HASH.to_string()]));
    assert_eq!(ask(tempo, "tempo_fundAddress", json!([OTHER])).await["error"]["code"], -32000);
    assert_eq!(ask(tempo, "tempo_fundAddress", json!([])).await["error"]["code"], -32602);
    assert_eq!(ask(Chain::BaseSepolia, "tempo_fundAddress", json!([OWNER])).await["error"]["code"], -32601);
    assert_eq!(ask(tempo, "eth_fillTransaction", json!([{}])).await["error"]["code"], -32601);
}

#[tokio::test]
async fn an_unreachable_ledger_is_an_internal_error_without_its_cause() {
    let answer = call(Chain::BaseSepolia, "e94a0102", &[OTHER.into_word(), NONCE]).await;
    assert_eq!(answer["error"], json!({"code": -32603, "message": "Internal error"}));
}

#[tokio::test]
async fn what_is_not_a_request_is_refused_with_its_code() {
    for (body, code) in [
        ("", -32700),
        ("{", -32700),
        ("\u{1}", -32700),
        ("7", -32600),
        ("[]", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, -32600),
    ] {
        let answer = send(Chain::Base, body).await.unwrap();
        assert_eq!(answer["error"]["code"], code, "{body}");
        assert_eq!(answer["id"], Value::Null);
    }
}

#[tokio::test]
async fn batches_are_answered_in_order_and_bounded() {
    let body = r#"[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},5,
        {"jsonrpc":"2.0","method":"eth_chainId"},{"jsonrpc":"2.0","id":"b","method":"nope"}]"#;
    let answer = send(Chain::Base, body).await.unwrap();
    assert_eq!(answer[0], json!({"jsonrpc": "2.0", "id": 1, "result": "0x2105"}));
    assert_eq!(answer[1]["error"]["code"], -32600);
    assert_eq!((&answer[2]["id"], &answer[2]["error"]["code"]), (&json!("b"), &json!(-32601)));
    assert_eq!(answer.as_array().unwrap().len(), 3, "the notification is not answered");

    let one = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    let batch = |count: usize| format!("[{}]", vec![one; count].join(","));
    assert_eq!(send(Chain::Base, &batch(MAX_BATCH)).await.unwrap().as_array().unwrap().len(), MAX_BATCH);
    assert_eq!(send(Chain::Base, &batch(MAX_BATCH + 1)).await.unwrap()["error"]["code"], -32600);
    let padded = format!("{one}{}", " ".repeat(MAX_BODY_BYTES));
    assert_eq!(send(Chain::Base, &padded).await.unwrap()["error"]["code"], -32600);
}

#[tokio::test]
async fn notifications_get_no_answer() {
    assert_eq!(send(Chain::Base, r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#).await, None);
    assert_eq!(send(Chain::Base, r#"[{"jsonrpc":"2.0","method":"eth_chainId"}]"#).await, None);
}

proptest! {
    #[test]
    fn hostile_calls_never_panic(method in "[a-zA-Z_]{0,30}", data in "(0x)?[0-9a-fA-F]{0,200}", text in ".{0,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let token = Chain::Base.token().address;
            send(Chain::Base, &text).await;
            ask(Chain::Base, &method, json!([text])).await;
            ask(Chain::Base, "eth_call", json!([{"to": token, "data": data}])).await;
            ask(Chain::Base, "eth_getBlockByNumber", json!([data])).await;
        });
    }
}
