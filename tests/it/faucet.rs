//! Test money and what wallets read from the chain (contract 01 §5.2, §6.1; check 7).

use serde_json::{Value, json};

use crate::support::{
    Api, Appliance, Wallet,
    payment::{Challenge, MAINNET_USDC, TESTNET_USDC},
    tenant::{FAUCET_AMOUNT, RPC},
};

async fn rpc(api: &Api, path: &str, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let answer = api.post(path).json(&body).send().await;
    let body = answer.is(200);
    assert_eq!(body["jsonrpc"], "2.0");
    assert_eq!(body["id"], 7);
    body
}

fn balance_of(address: &str) -> String {
    format!("0x70a08231{:0>64}", address.trim_start_matches("0x").to_ascii_lowercase())
}

async fn read_token(api: &Api, path: &str, token: &str, data: &str) -> Value {
    rpc(api, path, "eth_call", json!([{"to": token, "data": data}, "latest"])).await["result"].clone()
}

#[tokio::test]
async fn a_drip_is_on_the_chain_at_once() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    let answer = api.post("/faucet/v1").json(&json!({"address": wallet.checksummed()})).send().await;
    let body = answer.is(200);
    assert_eq!(body["amount_usd_micros"], FAUCET_AMOUNT);
    assert_eq!(body["token"], "USDC");
    assert_eq!(body["network"], "base-sepolia");
    let hash = body["transaction_hash"].as_str().expect("a hash").to_owned();
    assert!(hash.len() == 66 && hash.starts_with("0x"), "{hash}");
    assert!(body.get("status").is_none());

    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT);
    let mainnet = read_token(&api, "/rpc/v1/base", MAINNET_USDC, &balance_of(&wallet.lower())).await;
    assert_eq!(mainnet, format!("0x{:064x}", 0));

    let receipt = rpc(&api, RPC, "eth_getTransactionReceipt", json!([hash])).await["result"].clone();
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    assert_eq!(receipt["logs"][0]["topics"][0], "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
}

#[tokio::test]
async fn what_is_not_an_address_gets_no_money() {
    let api = Appliance::shared().api();
    for address in [
        json!("0x12"),
        json!(""),
        json!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        json!("0x0000000000000000000000000000000000000000"),
        json!("0xg39fd6e51aad88f6f4ce6ab8827279cfffb92266"),
        json!(7),
        json!(null),
        json!({"a": 1}),
    ] {
        let answer = api.post("/faucet/v1").json(&json!({"address": address})).send().await;
        answer.refused(400, "INVALID_ADDRESS");
    }
}

#[tokio::test]
async fn the_second_drip_of_a_day_is_429() {
    let api = Appliance::limited().api();
    let wallet = Wallet::random();
    let ask = |address: String| api.post("/faucet/v1").json(&json!({"address": address}));
    ask(wallet.checksummed()).send().await.is(200);
    // Another spelling is the same address.
    let answer = ask(wallet.lower()).send().await;
    let body = answer.refused(429, "RATE_LIMITED");
    let wait = body["retry_after"].as_u64().expect("seconds");
    assert!((1..=86_400).contains(&wait), "{body}");
    assert_eq!(body["retry_after_seconds"], wait);
    assert_eq!(answer.header("retry-after").and_then(|text| text.parse().ok()), Some(wait));
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT);
}

#[tokio::test]
async fn two_first_drips_at_the_same_moment_give_one() {
    let api = Appliance::limited().api();
    let wallet = Wallet::random();
    let ask = || api.post("/faucet/v1").json(&json!({"address": wallet.checksummed()})).send();
    let (first, second) = tokio::join!(ask(), ask());
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429], "{first} {second}");
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT);
}

#[tokio::test]
async fn chains_answer_with_their_ids() {
    let api = Appliance::shared().api();
    for (path, id, decimal) in
        [(RPC, "0x14a34", "84532"), ("/rpc/v1/base", "0x2105", "8453"), ("/rpc/v1/tempo-moderato", "0xa5bf", "42431")]
    {
        assert_eq!(rpc(&api, path, "eth_chainId", json!([])).await["result"], id);
        assert_eq!(rpc(&api, path, "net_version", json!([])).await["result"], decimal);
    }
}

#[tokio::test]
async fn the_token_answers_what_wallets_ask() {
    let api = Appliance::shared().api();
    let word = |number: u64| Value::from(format!("0x{number:064x}"));
    assert_eq!(read_token(&api, RPC, TESTNET_USDC, "0x313ce567").await, word(6));
    assert_eq!(
        read_token(&api, RPC, TESTNET_USDC, "0x3644e515").await,
        "0x71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818"
    );
    let symbol = read_token(&api, RPC, TESTNET_USDC, "0x95d89b41").await;
    assert!(symbol.as_str().is_some_and(|text| text.contains(&hex::encode("USDC"))), "{symbol}");
    let owner_and_spender = format!("0xdd62ed3e{:0>64}{:0>64}", "1", "2");
    assert_eq!(read_token(&api, RPC, TESTNET_USDC, &owner_and_spender).await, word(0));
    assert_eq!(read_token(&api, RPC, "0x1111111111111111111111111111111111111111", "0x313ce567").await, "0x");
    let unknown = rpc(&api, RPC, "eth_call", json!([{"to": TESTNET_USDC, "data": "0xdeadbeef"}, "latest"])).await;
    assert_eq!(unknown["error"]["code"], 3, "{unknown}");
}

#[tokio::test]
async fn a_used_authorisation_is_visible_on_the_chain() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let call = api.post("/tiers/v1/prototype").wallet(&wallet).json(&json!({}));
    let payment = Challenge::of(&call.clone().send().await).pay(&wallet);
    let state = || {
        let nonce = payment.nonce.to_string();
        let data = format!("0xe94a0102{:0>64}{}", &wallet.lower()[2..], &nonce[2..]);
        let api = api.clone();
        async move { read_token(&api, RPC, TESTNET_USDC, &data).await }
    };
    assert_eq!(state().await, format!("0x{:064x}", 0));
    call.header("payment-signature", &payment.header()).send().await.ok();
    assert_eq!(state().await, format!("0x{:064x}", 1));
}

#[tokio::test]
async fn blocks_look_like_blocks() {
    let api = Appliance::shared().api();
    let number = rpc(&api, RPC, "eth_blockNumber", json!([])).await["result"].clone();
    assert!(number.as_str().is_some_and(|text| text.starts_with("0x")), "{number}");
    let block = rpc(&api, RPC, "eth_getBlockByNumber", json!(["latest", false])).await["result"].clone();
    for key in ["number", "hash", "parentHash", "timestamp", "gasLimit", "baseFeePerGas", "transactions"] {
        assert!(block.get(key).is_some(), "{key} in {block}");
    }
    assert_eq!(rpc(&api, RPC, "eth_gasPrice", json!([])).await["result"], "0x3b9aca00");
    assert_eq!(rpc(&api, RPC, "eth_getBalance", json!([Wallet::random().lower(), "latest"])).await["result"], "0x0");
    assert_eq!(
        rpc(&api, RPC, "eth_getTransactionReceipt", json!([format!("0x{:064x}", 1)])).await["result"],
        Value::Null
    );
}

#[tokio::test]
async fn batches_are_answered_in_one_array() {
    let api = Appliance::shared().api();
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": "two", "method": "eth_nonsense", "params": []},
    ]);
    let body = api.post(RPC).json(&batch).send().await.is(200);
    assert_eq!(body.as_array().map(Vec::len), Some(2), "{body}");
    assert_eq!(body[0]["result"], "0x14a34");
    assert_eq!(body[1]["id"], "two");
    assert_eq!(body[1]["error"]["code"], -32601);
}

#[tokio::test]
async fn bad_json_rpc_is_told_in_json_rpc() {
    let api = Appliance::shared().api();
    let code = |text: &'static str| {
        let api = api.clone();
        async move {
            let answer = api.post(RPC).body("application/json", text.as_bytes().to_vec()).send().await;
            answer.is(200)["error"]["code"].clone()
        }
    };
    assert_eq!(code("{").await, -32700);
    assert_eq!(code("{\"jsonrpc\":\"2.0\",\"id\":1}").await, -32600);
    assert_eq!(code("7").await, -32600);
    assert_eq!(code("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_call\",\"params\":[7]}").await, -32602);
    assert_eq!(code("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_fillTransaction\",\"params\":[]}").await, -32601);
}

#[tokio::test]
async fn the_chains_public_host_names_reach_the_same_ledger() {
    let api = Appliance::shared().api();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []});
    for (host, id) in
        [("sepolia.base.org", "0x14a34"), ("mainnet.base.org", "0x2105"), ("rpc.moderato.tempo.xyz", "0xa5bf")]
    {
        let answer = api.post("/").header("host", host).json(&body).send().await.is(200);
        assert_eq!(answer["result"], id, "{host}");
    }
}

#[tokio::test]
async fn only_the_admin_mints() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = Wallet::random();
    let body = json!({"address": wallet.lower(), "amount_usd_micros": 5});
    let mint = || api.post("/admin/v1/ledger/mint").json(&body);
    mint().send().await.refused(401, "AUTHENTICATION_REQUIRED");
    mint().wallet(&wallet).send().await.refused(403, "ADMIN_REQUIRED");
    mint().admin_key("wrong").send().await.refused(403, "ADMIN_REQUIRED");
    let minted = mint().admin_key(&appliance.admin_key()).send().await.ok();
    assert_eq!(minted["balance_usd_micros"], 5);
    assert_eq!(api.token_balance(&wallet.lower()).await, 5);
}

#[tokio::test]
async fn the_preload_shim_is_served_as_a_module() {
    let answer = Appliance::shared().api().get("/rpc/v1/shim.mjs").send().await;
    assert_eq!(answer.status, 200, "{answer}");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/javascript") || kind.starts_with("application/javascript"), "{kind}");
    let text = String::from_utf8(answer.body.clone()).expect("text");
    for host in ["sepolia.base.org", "mainnet.base.org", "rpc.moderato.tempo.xyz"] {
        assert!(text.contains(host), "{host} in {text}");
    }
}
