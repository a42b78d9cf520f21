//! Payments being processed right now.
//!
//! The database alone decides who may use an authorisation. This set only spares it the crowd: copies of one
//! payment are told to wait at once, instead of each holding a connection until the first has committed.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use alloy_primitives::{Address, B256};

use crate::engines::chain::assets::Chain;

/// What makes an authorisation one of a kind; each chain has one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PaymentKey {
    pub network: Chain,
    pub payer: Address,
    pub nonce: B256,
}

#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<HashSet<PaymentKey>>>);

/// Keeps a payment in the set until dropped.
pub(super) struct Passage {
    set: InFlight,
    key: PaymentKey,
}

impl InFlight {
    /// `None` while another request uses the same payment.
    pub fn enter(&self, key: PaymentKey) -> Option<Passage> {
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        fresh.then(|| Passage { set: self.clone(), key })
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.set.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_for_each_payment() {
        let set = InFlight::default();
        let key = PaymentKey { network: Chain::BaseSepolia, payer: Address::ZERO, nonce: B256::ZERO };
        let other = PaymentKey { nonce: B256::repeat_byte(1), ..key };
        let first = set.enter(key);
        assert!(first.is_some());
        assert!(set.enter(key).is_none());
        assert!(set.enter(other).is_some());
        drop(first);
        assert!(set.enter(key).is_some());
    }
}
