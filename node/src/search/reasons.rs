//! Why a name is in the name index: it has a current version, an attribute, or both (K1).
//!
//! Invariant: two bits for each number, whatever the names. An event tells of one reason; only both together tell
//! whether the name stays.

use raft_store::catalog::FileNumber;

/// Bits of one reason, by number.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn get(&self, number: FileNumber) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn set(&mut self, number: FileNumber, to: bool) {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.0.len() {
            if !to {
                return;
            }
            self.0.resize(word + 1, 0);
        }
        if to {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }
}

/// The reasons of all names.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    versions: Bits,
    attributes: Bits,
}

impl Reasons {
    pub(super) fn set_version(&mut self, number: FileNumber, has: bool) {
        self.versions.set(number, has);
    }

    pub(super) fn set_attributes(&mut self, number: FileNumber, has: bool) {
        self.attributes.set(number, has);
    }

    /// Whether the name belongs into the index.
    pub(super) fn any(&self, number: FileNumber) -> bool {
        self.versions.get(number) || self.attributes.get(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_while_it_has_one_reason() {
        let mut reasons = Reasons::default();
        reasons.set_version(200, false);
        assert!(!reasons.any(200));
        reasons.set_version(200, true);
        reasons.set_attributes(200, true);
        reasons.set_version(200, false);
        assert!(reasons.any(200) && !reasons.any(199) && !reasons.any(264), "it still has an attribute");
        reasons.set_attributes(200, false);
        assert!(!reasons.any(200));
    }
}
