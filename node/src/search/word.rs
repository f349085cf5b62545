//! A word with the number of its uses, in 24 bytes for all but long words, so that most words need no heap access.
//!
//! Invariant: the bytes of a short word are valid text, and the rest of its space is never read.

/// Bytes of the longest word that needs no heap.
const SHORT_BYTES: usize = 18;

/// See the module.
#[derive(Debug)]
pub(super) enum Word {
    /// Up to [`SHORT_BYTES`].
    Short { uses: u32, length: u8, bytes: [u8; SHORT_BYTES] },
    /// More than that.
    Long { uses: u32, text: Box<str> },
}

const _: () = assert!(size_of::<Word>() == 24);

impl Word {
    /// A word with one use.
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        match bytes.get_mut(..text.len()) {
            Some(start) => {
                start.copy_from_slice(text.as_bytes());
                Self::Short { uses: 1, length: text.len() as u8, bytes }
            }
            None => Self::Long { uses: 1, text: text.into() },
        }
    }

    /// The word's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes, .. } => &bytes[..usize::from(*length)],
            Self::Long { text, .. } => text.as_bytes(),
        }
    }

    /// The word.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Short { .. } => std::str::from_utf8(self.bytes()).unwrap_or_default(),
            Self::Long { text, .. } => text,
        }
    }

    /// Whether it is this word.
    pub(super) fn is(&self, text: &str) -> bool {
        self.bytes() == text.as_bytes()
    }

    /// How often it is used.
    pub(super) fn uses(&self) -> u32 {
        let (Self::Short { uses, .. } | Self::Long { uses, .. }) = self;
        *uses
    }

    fn uses_mut(&mut self) -> &mut u32 {
        let (Self::Short { uses, .. } | Self::Long { uses, .. }) = self;
        uses
    }

    /// Counts one more use. Names with more uses than can be counted do not fit in memory.
    pub(super) fn add_use(&mut self) {
        let uses = self.uses_mut();
        *uses = uses.saturating_add(1);
    }

    /// Counts one use less; false if it was the last.
    pub(super) fn take_use(&mut self) -> bool {
        let uses = self.uses_mut();
        *uses = uses.saturating_sub(1);
        *uses > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_words_count_their_uses() {
        for text in ["", "a", "straße", "eighteen letters 1", "nineteen letters 19", "ßßßßßßßßß", "ßßßßßßßßßß"]
        {
            let mut word = Word::new(text);
            assert!(word.is(text) && !word.is("another"));
            assert_eq!((word.text(), word.bytes(), word.uses()), (text, text.as_bytes(), 1));
            assert_eq!(matches!(word, Word::Short { .. }), text.len() <= SHORT_BYTES);
            word.add_use();
            assert_eq!(word.uses(), 2);
            assert!(word.take_use());
            assert!(!word.take_use());
        }
    }
}
