//! The form in which names and queries are compared.
//!
//! Invariant: a folded text consists of words of folded letters and digits, one space between two words, none at the
//! ends. Folding a folded text changes nothing.

use unicode_normalization::UnicodeNormalization;

/// Case away, every run of anything but letters and digits one space, none at the ends.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut gap = false;
    let mut push = |letter: char| {
        if letter.is_alphanumeric() {
            if std::mem::take(&mut gap) && !folded.is_empty() {
                folded.push(' ');
            }
            folded.push(letter);
        } else if !is_mark(letter) {
            gap = true;
        }
    };
    if text.is_ascii() {
        text.chars().for_each(|letter| push(letter.to_ascii_lowercase()));
    } else {
        // By way of upper case, so that final sigma and long s meet their other forms, and of lower case before it for the capital
        // sharp s, which has no other upper case; NFC last, because
        // changing the case may take a letter apart.
        text.nfc()
            .flat_map(char::to_lowercase)
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .nfc()
            .for_each(push);
    }
    folded
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
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let once = fold(&text);
            prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
            prop_assert_eq!(fold(&once), once);
        }
    }
}
