//! Money.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in USD micros: 1 USD = 1 000 000. USDC and pathUSD have six decimals, so one token unit is one micro.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsdMicros(pub i64);

impl fmt::Display for UsdMicros {
    /// `$0.10`, `$5.00`; more digits only where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let fraction = format!("{:06}", micros % 1_000_000);
        let kept = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}${}.{}", micros / 1_000_000, &fraction[..kept])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_dollars() {
        for (micros, text) in
            [(100_000, "$0.10"), (5_000_000, "$5.00"), (5, "$0.000005"), (-1_230_000, "-$1.23"), (0, "$0.00")]
        {
            assert_eq!(UsdMicros(micros).to_string(), text);
        }
    }
}
