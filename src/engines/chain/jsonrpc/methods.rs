//! The methods the façade answers (contract 01 §5.2).

use alloy_primitives::{Address, B256};
use serde_json::{Value, json};

use super::{ChainReader, RpcError, blocks, call};
use crate::{
    common::Timestamp,
    engines::chain::{assets::Chain, x402::parse_hex},
};

/// 1 gwei; nobody pays it.
pub(super) const GAS_PRICE: &str = "0x3b9aca00";
const GAS_ESTIMATE: &str = "0xc350";
/// What stands for a contract's code: enough to be "not an account".
const TOKEN_CODE: &str = "0x60";

pub(super) async fn dispatch<R: ChainReader>(
    reader: &R,
    chain: Chain,
    now: Timestamp,
    method: &str,
    params: &[Value],
) -> Result<Value, RpcError> {
    Ok(match method {
        "eth_chainId" => json!(format!("{:#x}", chain.id())),
        "net_version" => json!(chain.id().to_string()),
        "eth_blockNumber" => json!(blocks::quantity(blocks::number_at(now))),
        "eth_getBlockByNumber" => blocks::block(chain, now, blocks::parse_tag(params.first(), now)?),
        "eth_gasPrice" | "eth_maxPriorityFeePerGas" => json!(GAS_PRICE),
        "eth_estimateGas" => json!(GAS_ESTIMATE),
        "eth_getTransactionCount" | "eth_getBalance" => {
            address(params, 0)?;
            json!("0x0")
        }
        "eth_getCode" => json!(if address(params, 0)? == chain.token().address { TOKEN_CODE } else { "0x" }),
        "eth_call" => call::eth_call(reader, chain.token(), params.first()).await?,
        "eth_getTransactionReceipt" => {
            let hash = hash(params)?;
            blocks::receipt(chain, hash, &reader.transfers(chain, hash).await?)
        }
        "eth_getTransactionByHash" => {
            let hash = hash(params)?;
            blocks::transaction(chain, hash, &reader.transfers(chain, hash).await?)
        }
        "tempo_fundAddress" if chain == Chain::TempoModerato => {
            json!([reader.fund(chain, address(params, 0)?).await?.to_string()])
        }
        unknown => return Err(RpcError::method_not_found(unknown)),
    })
}

fn address(params: &[Value], index: usize) -> Result<Address, RpcError> {
    params.get(index).and_then(Value::as_str).and_then(parse_hex).map(Address::from).ok_or(RpcError::INVALID_PARAMS)
}

fn hash(params: &[Value]) -> Result<B256, RpcError> {
    params.first().and_then(Value::as_str).and_then(parse_hex).map(B256::from).ok_or(RpcError::INVALID_PARAMS)
}
