//! Which of the names that match a search it wants: files alone or records too, below a folder, with certain attributes
//! (K1, K3).
//!
//! Invariant: a filter that cannot be read is refused, never ignored.

use raft_store::types::{AttributeKey, AttributeValue, Attributes, Comparison, FileName, limits};

use super::error::ApiError;

/// The filters of a search.
pub struct Filters {
    /// Whether records are wanted as well as files.
    pub records: bool,
    /// Ends in `/`.
    under: Option<String>,
    attributes: Vec<(AttributeKey, Comparison, AttributeValue)>,
}

impl Filters {
    /// Checks the filters as they were written.
    pub fn new(records: bool, under: Option<&str>, attributes: &[String]) -> Result<Self, ApiError> {
        if attributes.len() > limits::TXN_CONDITIONS_MAX {
            let max = limits::TXN_CONDITIONS_MAX;
            return Err(ApiError::BadRequest(format!("`attr` is there more than {max} times")));
        }
        let attributes = attributes.iter().map(|text| attribute(text)).collect::<Result<_, _>>()?;
        Ok(Self { records, under: under.map(folder).transpose()?, attributes })
    }

    /// Whether a name lies below the folder.
    pub fn is_below(&self, name: &FileName) -> bool {
        self.under.as_ref().is_none_or(|under| name.as_str().starts_with(under.as_str()))
    }

    /// Whether a name with these attributes passes.
    pub fn accept(&self, attributes: &Attributes) -> bool {
        self.attributes.iter().all(|(key, is, value)| is.holds(attributes.get(key.as_str()), value))
    }
}

fn folder(text: &str) -> Result<String, ApiError> {
    let name = text.strip_suffix('/').unwrap_or(text);
    let name = FileName::parse(name).map_err(|error| ApiError::BadName(format!("under: {error}")))?;
    Ok(format!("{name}/"))
}

/// Reads `KEY>=VALUE`.
fn attribute(text: &str) -> Result<(AttributeKey, Comparison, AttributeValue), ApiError> {
    let wrong = |why: &str| {
        ApiError::BadRequest(format!(
            "attr={text}: {why}; write KEY, one of = != < <= > >=, and a value: attr=stock>=5"
        ))
    };
    let at = text.find(['=', '!', '<', '>']).ok_or_else(|| wrong("there is no comparison"))?;
    let (key, rest) = text.split_at(at);
    let key = AttributeKey::parse(key).map_err(|error| wrong(&error.to_string()))?;
    let is = Comparison::ALL.into_iter().find(|is| rest.starts_with(is.sign()));
    let is = is.ok_or_else(|| wrong("there is no such comparison"))?;
    let value = value(&rest[is.sign().len()..]).map_err(|error| wrong(&error))?;
    Ok((key, is, value))
}

/// A whole number is an integer, as JSON writes it; anything else is a string. So is what stands in double quotes.
fn value(text: &str) -> Result<AttributeValue, String> {
    if text.len() > 1 && text.starts_with('"') && text.ends_with('"') {
        let unquoted: String =
            serde_json::from_str(text).map_err(|_| "what is quoted is not a JSON string".to_owned())?;
        return AttributeValue::text(unquoted).map_err(|error| error.to_string());
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let is_canonical = is_number && (digits == "0" || !digits.starts_with('0'));
    if is_canonical {
        let range = "an integer is between -2^63 and 2^63 - 1; quote it to mean a string";
        return text.parse().map(AttributeValue::Integer).map_err(|_| range.to_owned());
    }
    AttributeValue::text(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(attributes: &[&str]) -> Result<Filters, ApiError> {
        let attributes: Vec<_> = attributes.iter().map(|text| (*text).to_owned()).collect();
        Filters::new(true, Some("market"), &attributes)
    }

    fn accepts(filter: &str, value: AttributeValue) -> bool {
        let attributes = [(AttributeKey::parse("k").expect("valid"), value)].into_iter().collect();
        filters(&[filter]).expect("it is a filter").accept(&attributes)
    }

    #[test]
    fn numbers_are_integers_unless_they_are_quoted() {
        let text = |text: &str| AttributeValue::text(text).expect("valid");
        assert!(accepts("k=5", 5.into()) && !accepts("k=5", text("5")));
        assert!(accepts("k=\"5\"", text("5")) && !accepts("k=\"5\"", 5.into()));
        assert!(accepts("k=007", text("007")) && accepts("k=a=b", text("a=b")) && accepts("k=", text("")));
        assert!(accepts("k>=-3", (-3).into()) && !accepts("k>-3", (-3).into()) && accepts("k<=a", text("a")));
        assert!(accepts("k!=5", text("5")) && !accepts("k<5", text("4")), "the two have no order");
        let none = Attributes::new();
        let passes = |filter| filters(&[filter]).expect("it is a filter").accept(&none);
        assert!(passes("k!=5") && !passes("k<5"), "a missing attribute satisfies != alone");
    }

    #[test]
    fn what_is_no_filter_is_refused_with_an_example() {
        for wrong in ["", "k", "=5", "k!5", "a b=5", "k=9223372036854775808", "k=\"\\\""] {
            let refused = filters(&[wrong]).err().expect(wrong).to_string();
            assert!(refused.contains("attr=stock>=5"), "{wrong}: {refused}");
        }
        assert!(matches!(Filters::new(false, Some(""), &[]), Err(ApiError::BadName(_))));
        assert!(matches!(Filters::new(false, Some("a//b"), &[]), Err(ApiError::BadName(_))));
        assert!(filters(&["k=1"; 65]).is_err());
    }

    #[test]
    fn a_folder_is_a_prefix_that_ends_in_a_slash() {
        for written in ["market", "market/"] {
            let filters = Filters::new(false, Some(written), &[]).expect("a folder");
            let is_below = |name| filters.is_below(&FileName::parse(name).expect("valid"));
            assert!(is_below("market/a") && !is_below("market") && !is_below("marketing/a") && !is_below("a/market/b"));
        }
    }
}
