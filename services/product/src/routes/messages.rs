//! The gRPC messages of `proto/catalogue.proto`, written by hand so that a build needs no protoc.

/// Asks for one product.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetProductRequest {
    /// Empty asks for the first product of the catalogue.
    #[prost(string, tag = "1")]
    pub sku: String,
}

/// One product and who answered.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetProductResponse {
    /// The product.
    #[prost(message, optional, tag = "1")]
    pub product: Option<Product>,
    /// The version that answered.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// One product.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Product {
    /// Its stock keeping unit.
    #[prost(string, tag = "1")]
    pub sku: String,
    /// What it is called.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The category it is listed in.
    #[prost(string, tag = "3")]
    pub category: String,
    /// One sentence about it.
    #[prost(string, tag = "4")]
    pub description: String,
    /// Its list price.
    #[prost(message, optional, tag = "5")]
    pub price: Option<Money>,
}

/// An amount of money.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Money {
    /// Whole cents.
    #[prost(int64, tag = "1")]
    pub cents: i64,
    /// ISO 4217.
    #[prost(string, tag = "2")]
    pub currency: String,
}

/// Asks for prices as they change.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WatchPricesRequest {
    /// At most 100; none for all products in turn.
    #[prost(string, repeated, tag = "1")]
    pub skus: Vec<String>,
}

/// One price.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PriceUpdate {
    /// Whose price it is.
    #[prost(string, tag = "1")]
    pub sku: String,
    /// The price now.
    #[prost(message, optional, tag = "2")]
    pub price: Option<Money>,
    /// Rises by one with each tick of the stream.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// The version that sends.
    #[prost(string, tag = "4")]
    pub version: String,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    const PROTO: &str = include_str!("../../proto/catalogue.proto");

    /// The fields of one message in the `.proto` file: number and name, in the order of the file.
    fn documented(message: &str) -> Vec<(u32, String)> {
        let start = PROTO.find(&format!("message {message} {{")).expect("the message is in the file");
        let body = &PROTO[start..start + PROTO[start..].find('}').expect("the message ends")];
        let fields = body.lines().filter(|line| !line.trim_start().starts_with("//"));
        fields
            .filter_map(|line| line.trim().strip_suffix(';')?.split_once(" = "))
            .map(|(left, number)| {
                (number.parse().expect("a field number"), left.rsplit(' ').next().expect("a name").to_owned())
            })
            .collect()
    }

    /// The field numbers on the wire, in order.
    fn encoded(message: &impl Message) -> Vec<u32> {
        let bytes = message.encode_to_vec();
        let mut rest = bytes.as_slice();
        let mut numbers = Vec::new();
        while !rest.is_empty() {
            let (number, wire_type) = prost::encoding::decode_key(&mut rest).unwrap();
            prost::encoding::skip_field(
                wire_type,
                number,
                &mut rest,
                prost::encoding::DecodeContext::default(),
            )
            .unwrap();
            numbers.push(number);
        }
        numbers
    }

    /// Every field of `message` is set, so that all are on the wire.
    fn check(name: &str, message: &(impl Message + std::fmt::Debug)) {
        let documented = documented(name);
        let numbers: Vec<_> = documented.iter().map(|(number, _)| *number).collect();
        assert_eq!(encoded(message), numbers, "{name}");
        let debug = format!("{message:?}");
        for (_, field) in documented {
            assert!(debug.contains(&format!("{field}: ")), "{name} lacks {field}: {debug}");
        }
    }

    #[test]
    fn messages_have_the_field_numbers_of_the_proto_file() {
        let text = || "x".to_owned();
        let money = || Some(Money { cents: 1, currency: text() });
        let product =
            Product { sku: text(), name: text(), category: text(), description: text(), price: money() };
        check("GetProductRequest", &GetProductRequest { sku: text() });
        check("GetProductResponse", &GetProductResponse { product: Some(product.clone()), version: text() });
        check("Product", &product);
        check("Money", &Money { cents: 1, currency: text() });
        check("WatchPricesRequest", &WatchPricesRequest { skus: vec![text()] });
        check("PriceUpdate", &PriceUpdate { sku: text(), price: money(), sequence: 1, version: text() });
    }
}
