//! Blocks, transactions and receipts of a chain that has none.
//!
//! A block every two seconds since the epoch, numbered by the clock, so that everything here can be computed
//! and nothing needs to be stored. Hashes are digests of chain and number: stable, and unlike any real one.

use alloy_primitives::{Address, B256, Bloom, BloomInput, U256, b256, keccak256};
use serde_json::{Value, json};

use super::{RpcError, methods::GAS_PRICE};
use crate::{
    common::Timestamp,
    engines::chain::{assets::Chain, ledger::TransferRecord},
};

const SECONDS_PER_BLOCK: u64 = 2;
const GAS_LIMIT: &str = "0x1c9c380";
const GAS_USED: &str = "0xc350";
/// keccak256("Transfer(address,address,uint256)")
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// keccak256("AuthorizationUsed(address,bytes32)")
const AUTHORIZATION_USED: B256 = b256!("98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5");
/// Root of an empty trie, and the hash of an empty list of uncles.
const EMPTY_ROOT: B256 = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
const NO_UNCLES: B256 = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");

pub(super) fn number_at(at: Timestamp) -> u64 {
    u64::try_from(at.as_seconds()).unwrap_or(0) / SECONDS_PER_BLOCK
}

/// A number as JSON-RPC writes it: hexadecimal without leading zeros.
pub(super) fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

/// A block number or tag.
pub(super) fn parse_tag(tag: Option<&Value>, now: Timestamp) -> Result<u64, RpcError> {
    match tag.and_then(Value::as_str) {
        Some("latest" | "pending" | "safe" | "finalized") => Ok(number_at(now)),
        Some("earliest") => Ok(0),
        Some(text) => text
            .strip_prefix("0x")
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or(RpcError::INVALID_PARAMS),
        None => Err(RpcError::INVALID_PARAMS),
    }
}

/// The block of that number, without transactions; null for one that is still to come.
pub(super) fn block(chain: Chain, now: Timestamp, number: u64) -> Value {
    let latest = number_at(now);
    if number > latest {
        return Value::Null;
    }
    let timestamp =
        if number == latest { u64::try_from(now.as_seconds()).unwrap_or(0) } else { number * SECONDS_PER_BLOCK };
    json!({
        "number": quantity(number),
        "hash": block_hash(chain, number),
        "parentHash": number.checked_sub(1).map_or(B256::ZERO, |parent| block_hash(chain, parent)),
        "timestamp": quantity(timestamp),
        "baseFeePerGas": GAS_PRICE,
        "gasLimit": GAS_LIMIT,
        "gasUsed": "0x0",
        "transactions": [],
        "uncles": [],
        "withdrawals": [],
        "size": "0x220",
        "nonce": "0x0000000000000000",
        "mixHash": B256::ZERO,
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": "0x",
        "miner": Address::ZERO,
        "logsBloom": Bloom::ZERO,
        "sha3Uncles": NO_UNCLES,
        "stateRoot": EMPTY_ROOT,
        "transactionsRoot": EMPTY_ROOT,
        "receiptsRoot": EMPTY_ROOT,
        "withdrawalsRoot": EMPTY_ROOT,
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": B256::ZERO,
    })
}

/// The receipt of a ledger transaction; null when it has no transfers, which is when the hash is unknown.
pub(super) fn receipt(chain: Chain, hash: B256, transfers: &[TransferRecord]) -> Value {
    let Some(first) = transfers.first() else { return Value::Null };
    let number = number_at(first.at);
    let place = json!({
        "blockHash": block_hash(chain, number),
        "blockNumber": quantity(number),
        "transactionHash": hash,
        "transactionIndex": "0x0",
        "removed": false,
    });
    let mut bloom = Bloom::ZERO;
    let mut logs = Vec::new();
    for event in transfers.iter().flat_map(events) {
        bloom.accrue(BloomInput::Raw(event.token.as_slice()));
        for topic in &event.topics {
            bloom.accrue(BloomInput::Raw(topic.as_slice()));
        }
        let mut log = place.clone();
        log["address"] = lower(event.token);
        log["topics"] = json!(event.topics);
        log["data"] = json!(event.data);
        log["logIndex"] = json!(quantity(logs.len() as u64));
        logs.push(log);
    }
    json!({
        "transactionHash": hash,
        "transactionIndex": "0x0",
        "blockHash": block_hash(chain, number),
        "blockNumber": quantity(number),
        "from": lower(first.from),
        "to": lower(first.token),
        "contractAddress": null,
        "status": "0x1",
        "type": "0x2",
        "gasUsed": GAS_USED,
        "cumulativeGasUsed": GAS_USED,
        "effectiveGasPrice": GAS_PRICE,
        "logsBloom": bloom,
        "logs": logs,
    })
}

/// The transaction itself; null when the hash is unknown. It was never signed as one, so `r` and `s` are zero.
pub(super) fn transaction(chain: Chain, hash: B256, transfers: &[TransferRecord]) -> Value {
    let Some(first) = transfers.first() else { return Value::Null };
    let number = number_at(first.at);
    json!({
        "hash": hash,
        "blockHash": block_hash(chain, number),
        "blockNumber": quantity(number),
        "transactionIndex": "0x0",
        "from": lower(first.from),
        "to": lower(first.token),
        "chainId": quantity(chain.id()),
        "type": "0x2",
        "nonce": "0x0",
        "value": "0x0",
        "input": "0x",
        "gas": GAS_USED,
        "gasPrice": GAS_PRICE,
        "maxFeePerGas": GAS_PRICE,
        "maxPriorityFeePerGas": GAS_PRICE,
        "accessList": [],
        "v": "0x0",
        "yParity": "0x0",
        "r": "0x0",
        "s": "0x0",
    })
}

struct Event {
    token: Address,
    topics: Vec<B256>,
    data: String,
}

/// What the token contract would have logged, in its order.
fn events(transfer: &TransferRecord) -> Vec<Event> {
    let used = transfer.nonce.map(|nonce| Event {
        token: transfer.token,
        topics: vec![AUTHORIZATION_USED, transfer.from.into_word(), nonce],
        data: "0x".into(),
    });
    let moved = Event {
        token: transfer.token,
        topics: vec![TRANSFER, transfer.from.into_word(), transfer.to.into_word()],
        data: B256::from(U256::from(u64::try_from(transfer.amount).unwrap_or(0))).to_string(),
    };
    used.into_iter().chain([moved]).collect()
}

fn block_hash(chain: Chain, number: u64) -> B256 {
    keccak256(format!("simulated block {number} of {}", chain.caip2()))
}

fn lower(address: Address) -> Value {
    json!(format!("{address:#x}"))
}
