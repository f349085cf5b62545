//! What every page of this program is made of.
//!
//! Invariant: a page needs nothing but itself; its style is in it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Style of every page, for light and dark.
const STYLE: &str = include_str!("style.css");

/// A whole page.
pub(crate) fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) }
            style { (PreEscaped(STYLE)) }
            body { (body) }
        }
    };
    page.into_string() + "\n"
}

/// A scrollable table; a heading says whether its column has numbers.
pub(crate) fn table(headings: &[(&str, bool)], rows: &Markup) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { @for (heading, number) in headings { th.n[*number] { (heading) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(0).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
