//! The form in which names and queries are compared.
//!
//! Invariant: a folded text consists of words of folded letters and digits, one space between two words, none at the
//! ends. Folding a folded text changes nothing.

use unicode_normalization::UnicodeNormalization;

/// What becomes of each ASCII character.
const ASCII: [u8; 128] = {
    let mut folded = [b' '; 128];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            folded[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    folded
};

/// Folds case, and turns every run of anything but letters and digits into one space, with none at the ends.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::new();
    fold_into(&mut folded, text);
    folded
}

/// Replaces `folded` with the folded form of a text.
///
/// No ASCII character is changed by what comes before it, so that a text is folded in parts that begin with one.
pub(super) fn fold_into(folded: &mut String, text: &str) {
    let mut bytes = std::mem::take(folded).into_bytes();
    bytes.clear();
    let mut rest = text;
    while !rest.is_empty() {
        if rest.is_ascii() {
            fold_ascii(&mut bytes, rest);
            break;
        }
        // An accent may follow the last of them.
        let ascii = rest.bytes().take_while(u8::is_ascii).count().saturating_sub(1);
        let others = rest.bytes().skip(ascii + 1).position(|byte| byte.is_ascii());
        let (others, next) = rest.split_at(others.map_or(rest.len(), |others| ascii + 1 + others));
        let (ascii, others) = others.split_at(ascii);
        fold_ascii(&mut bytes, ascii);
        fold_letters(&mut bytes, any_case(others));
        rest = next;
    }
    bytes.truncate(bytes.trim_ascii_end().len());
    *folded = String::from_utf8(bytes).unwrap_or_default();
}

/// Adds the folded form of a text, and a space if it ends in a separator. Every byte is written and only some are kept,
/// because the processor cannot predict where the separators are.
fn fold_ascii(folded: &mut Vec<u8>, text: &str) {
    let start = folded.len();
    let mut last = folded.last().copied().unwrap_or(b' ');
    folded.resize(start + text.len(), b' ');
    let (added, mut end) = (&mut folded[start..], 0);
    for &byte in text.as_bytes() {
        let letter = ASCII[usize::from(byte) % ASCII.len()];
        added[end] = letter;
        end += usize::from(letter != b' ' || last != b' ');
        last = letter;
    }
    folded.truncate(start + end);
}

/// Does the same for letters whose case is folded.
fn fold_letters(folded: &mut Vec<u8>, letters: impl Iterator<Item = char>) {
    for letter in letters {
        if letter.is_alphanumeric() {
            folded.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        } else if !is_mark(letter) && folded.last().is_some_and(|last| *last != b' ') {
            folded.push(b' ');
        }
    }
}

/// Through upper case, so that final sigma and long s become equal to their other forms. Before that through lower
/// case, for the capital sharp s, which has no other upper case. NFC last, because changing the case may decompose a
/// letter.
fn any_case(text: &str) -> impl Iterator<Item = char> {
    text.nfc().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc()
}

/// A combining accent that no letter absorbed: neither part of a word nor its end.
fn is_mark(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folds_case_and_separators() {
        for (text, folded) in [
            ("Report_2024--Final.PDF", "report 2024 final pdf"),
            ("docs/ÜBER uns", "docs über uns"),
            ("u\u{308}ber", "über"),
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("STRAẞE", "strasse"),
            ("ΟΔΟΣ", "οδοσ"),
            ("οδος", "οδοσ"),
            ("İstanbul", "istanbul"),
            ("..//--", ""),
            ("日本語.txt", "日本語 txt"),
        ] {
            assert_eq!(fold(text), folded, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_plain_parts_are_folded_like_the_others(text in "([ -~]{0,5}[à-ÿΑ-ω\u{300}-\u{30f}ẞİſ日]{0,3}){0,5}") {
            let mut folded = Vec::new();
            fold_letters(&mut folded, any_case(&text));
            prop_assert!(fold(&text).as_bytes() == folded.trim_ascii_end());
        }

        #[test]
        fn any_text_is_folded_like_as_a_whole(text in any::<String>()) {
            let mut folded = Vec::new();
            fold_letters(&mut folded, any_case(&text));
            prop_assert!(fold(&text).as_bytes() == folded.trim_ascii_end());
        }

        #[test]
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let once = fold(&text);
            prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
            prop_assert_eq!(fold(&once), once);
        }
    }
}
