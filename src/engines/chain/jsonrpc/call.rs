//! `eth_call` on the token contract: the reading half of ERC-20, EIP-2612 and EIP-3009.

use alloy_primitives::{Address, B256, U256, hex};
use alloy_sol_types::SolValue;
use serde_json::{Value, json};

use super::{ChainReader, RpcError};
use crate::engines::chain::{
    assets::{DECIMALS, Token},
    eip3009,
    x402::parse_hex,
};

const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];
const DECIMALS_OF: [u8; 4] = [0x31, 0x3c, 0xe5, 0x67];
const SYMBOL: [u8; 4] = [0x95, 0xd8, 0x9b, 0x41];
const NAME: [u8; 4] = [0x06, 0xfd, 0xde, 0x03];
const VERSION: [u8; 4] = [0x54, 0xfd, 0x4d, 0x50];
const TOTAL_SUPPLY: [u8; 4] = [0x18, 0x16, 0x0d, 0xdd];
const DOMAIN_SEPARATOR: [u8; 4] = [0x36, 0x44, 0xe5, 0x15];
const AUTHORIZATION_STATE: [u8; 4] = [0xe9, 0x4a, 0x01, 0x02];
const ALLOWANCE: [u8; 4] = [0xdd, 0x62, 0xed, 0x3e];
const NONCES: [u8; 4] = [0x7e, 0xce, 0xbe, 0x00];

/// Answers a call object `{to, data}` (`input` is the newer name of `data`). Other addresses have no code
/// here and answer `0x`, as a node does.
pub(super) async fn eth_call<R: ChainReader>(
    reader: &R,
    token: &'static Token,
    call: Option<&Value>,
) -> Result<Value, RpcError> {
    let call = call.and_then(Value::as_object).ok_or(RpcError::INVALID_PARAMS)?;
    let to = match call.get("to") {
        None | Some(Value::Null) => return Ok(json!("0x")),
        Some(to) => to.as_str().and_then(parse_hex).map(Address::from).ok_or(RpcError::INVALID_PARAMS)?,
    };
    let data = match call.get("input").or_else(|| call.get("data")) {
        None | Some(Value::Null) => Vec::new(),
        Some(data) => data
            .as_str()
            .and_then(|text| text.strip_prefix("0x"))
            .and_then(|digits| hex::decode(digits).ok())
            .ok_or(RpcError::INVALID_PARAMS)?,
    };
    if to != token.address {
        return Ok(json!("0x"));
    }
    let (selector, arguments) = data.split_first_chunk::<4>().ok_or(RpcError::REVERTED)?;
    let result = match *selector {
        BALANCE_OF => units(reader.balance(token, argument_address(arguments, 0)?).await?),
        TOTAL_SUPPLY => units(reader.total_supply(token).await?),
        DECIMALS_OF => U256::from(DECIMALS).abi_encode(),
        SYMBOL => token.symbol.abi_encode(),
        NAME => token.name.abi_encode(),
        VERSION => token.version.abi_encode(),
        DOMAIN_SEPARATOR => eip3009::domain(token).separator().abi_encode(),
        AUTHORIZATION_STATE => {
            let (authorizer, nonce) = (argument_address(arguments, 0)?, argument(arguments, 1)?);
            reader.is_used(token, authorizer, nonce).await?.abi_encode()
        }
        ALLOWANCE => {
            argument_address(arguments, 0)?;
            argument_address(arguments, 1)?;
            units(0)
        }
        NONCES => {
            argument_address(arguments, 0)?;
            units(0)
        }
        _ => return Err(RpcError::REVERTED),
    };
    Ok(json!(hex::encode_prefixed(result)))
}

fn units(amount: i64) -> Vec<u8> {
    U256::from(u64::try_from(amount).unwrap_or(0)).abi_encode()
}

/// The 32-byte word of argument `index`; a contract reverts when call data is too short.
fn argument(arguments: &[u8], index: usize) -> Result<B256, RpcError> {
    arguments.get(index * 32..index * 32 + 32).map(B256::from_slice).ok_or(RpcError::REVERTED)
}

fn argument_address(arguments: &[u8], index: usize) -> Result<Address, RpcError> {
    let word = argument(arguments, index)?;
    if word[..12].iter().any(|byte| *byte != 0) {
        return Err(RpcError::REVERTED);
    }
    Ok(Address::from_word(word))
}
