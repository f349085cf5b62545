//! Finds offers: in all areas, in one area, or in one shop, by words and by price and stock.

use client::cluster::IndexClient;
use client::contract::{ErrorCode, SearchHit, SearchQuery};
use raft_store::types::Attributes;

use super::{MARKET, Market, MarketError, Offer, Price, Product, attribute};

/// Offers that one search finds at most.
pub const FOUND_MAX: usize = 1_000;

/// What to look for. The default finds everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Words of the name; typing errors are forgiven.
    pub words: String,
    /// Only this area.
    pub area: Option<String>,
    /// Only this shop of the area.
    pub shop: Option<String>,
    /// At least this price.
    pub price_from: Option<Price>,
    /// At most this price.
    pub price_to: Option<Price>,
    /// At least this many units in stock.
    pub stock: Option<u64>,
    /// Offers to find, [`FOUND_MAX`] at most.
    pub limit: Option<usize>,
}

impl Filter {
    fn query(&self, cursor: Option<String>) -> SearchQuery {
        let mut under = MARKET.to_owned();
        for folder in self.area.iter().chain(self.area.as_ref().and(self.shop.as_ref())) {
            under.push_str(folder);
            under.push('/');
        }
        let mut attr = Vec::new();
        attr.extend(self.price_from.map(|price| format!("{}>={}", attribute::PRICE, price.minor())));
        attr.extend(self.price_to.map(|price| format!("{}<={}", attribute::PRICE, price.minor())));
        attr.extend(self.stock.map(|stock| format!("{}>={stock}", attribute::STOCK)));
        SearchQuery {
            q: Some(self.words.clone()),
            limit: Some(self.limit.unwrap_or(FOUND_MAX).min(FOUND_MAX)),
            cursor,
            records: Some(true),
            under: Some(under),
            attr,
            ..SearchQuery::default()
        }
    }
}

impl Market {
    /// The offers that match, best first.
    pub async fn search(&self, filter: &Filter) -> Result<Vec<Offer>, MarketError> {
        let found = self.client().search_with(&filter.query(None)).await?;
        Ok(found.value.iter().filter_map(offer_of_hit).collect())
    }

    /// One offer.
    pub async fn look(&self, product: &Product) -> Result<Offer, MarketError> {
        let missing = || MarketError::NoSuchProduct { product: product.clone() };
        let file = match self.client().file(product.record()).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => return Err(missing()),
            result => result?.value,
        };
        offer_of(product.clone(), &file.attributes).ok_or_else(missing)
    }
}

/// Every offer that the asked node has, by name, and the log indexes of the first and of the last page.
pub(super) async fn all_offers(client: &IndexClient) -> Result<(Vec<Offer>, u64, u64), MarketError> {
    let (mut offers, mut cursor, mut first) = (Vec::new(), None, None);
    loop {
        let page = client.search_with(&Filter::default().query(cursor)).await?;
        let first = *first.get_or_insert(page.freshness.applied);
        offers.extend(page.value.iter().filter_map(offer_of_hit));
        cursor = page.cursor;
        if cursor.is_none() {
            offers.sort_by(|one: &Offer, other| one.product.cmp(&other.product));
            return Ok((offers, first, page.freshness.applied));
        }
    }
}

fn offer_of_hit(hit: &SearchHit) -> Option<Offer> {
    offer_of(Product::of_record(&hit.file_name)?, &hit.attributes)
}

/// A record without price or stock is not an offer.
fn offer_of(product: Product, attributes: &Attributes) -> Option<Offer> {
    let integer = |key: &str| attributes.get(key)?.as_integer();
    let unit = attributes.get(attribute::UNIT).and_then(|unit| unit.as_text()).unwrap_or("piece");
    Some(Offer {
        product,
        price: Price::from_minor(integer(attribute::PRICE)?)?,
        stock: integer(attribute::STOCK)?,
        unit: unit.to_owned(),
    })
}
