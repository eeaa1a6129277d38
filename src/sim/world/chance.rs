//! [`Chance`]: numbers that look random and come from a seed.

use serde::{Deserialize, Serialize};

/// SplitMix64: eight bytes of state that can be saved with the world, and good enough to draw lots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether something of this probability happens now. Certain and impossible things draw no lot, so that
    /// a switch that is off does not change what the others draw.
    pub fn happens(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        probability >= 1.0 || (self.draw() >> 11) as f64 / ((1_u64 << 53) as f64) < probability
    }

    /// Letters and digits for tokens and session ids.
    pub fn hex(&mut self) -> String {
        format!("{:016x}", self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_lots() {
        let (mut one, mut two) = (Chance::new(7), Chance::new(7));
        let lots: Vec<bool> = (0..100).map(|_| one.happens(0.5)).collect();
        assert_eq!(lots, (0..100).map(|_| two.happens(0.5)).collect::<Vec<bool>>());
        assert!(lots.contains(&true) && lots.contains(&false));
        assert_ne!(one.hex(), one.hex());
    }
}
