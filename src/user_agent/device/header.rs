//! A User-Agent header taken apart: `Product/Version (field; field) Product/Version`.

/// The most bytes that are looked at. Browsers stay below 512, and programs that show pages inside of them below 1,000.
const LOOKED_AT: usize = 2048;

/// The parts of a header.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// The header, cut to what is looked at.
    pub(super) text: &'a str,
    /// Names and versions outside of parentheses, in order.
    pub(super) products: Vec<(&'a str, &'a str)>,
    /// The fields of the first pair of parentheses: the system.
    pub(super) system: Vec<&'a str>,
}

impl<'a> Header<'a> {
    /// Takes a header apart, each byte once. Parentheses that do not match end with the header.
    pub(super) fn new(header: &'a str) -> Self {
        // A character is at most four bytes long.
        let cut = (0..4).find_map(|less| header.get(..LOOKED_AT - less));
        let text = if header.len() <= LOOKED_AT { header } else { cut.unwrap_or_default() };
        let mut parts = Self { text, products: Vec::new(), system: Vec::new() };
        let mut rest = text;
        while let Some((before, comment)) = rest.split_once('(') {
            parts.add_products(before);
            let end = end_of_comment(comment);
            let (fields, after) = comment.split_at_checked(end).unwrap_or((comment, ""));
            if parts.system.is_empty() {
                parts.system.extend(fields.split(';').map(str::trim).filter(|field| !field.is_empty()));
            }
            rest = after;
        }
        parts.add_products(rest);
        parts
    }

    /// The version of the product with that name.
    pub(super) fn product(&self, name: &str) -> Option<&'a str> {
        self.products.iter().find(|(product, _)| *product == name).map(|(_, version)| *version)
    }

    /// Whether there is a product with one of these names.
    pub(super) fn has_product(&self, names: &[&str]) -> bool {
        self.products.iter().any(|(product, _)| names.contains(product))
    }

    /// Whether a field of the system begins with one of these words.
    pub(super) fn runs_on(&self, words: &[&str]) -> bool {
        self.system.iter().any(|field| words.iter().any(|word| field.starts_with(word)))
    }

    /// Whether it is from a browser, or from a program that shows pages as one does.
    pub(super) fn is_browser(&self) -> bool {
        self.text.contains("Mozilla/") || self.text.starts_with("Opera/")
    }

    /// Whether it asks for pages for telephones, as Android's browsers do.
    pub(super) fn is_mobile_safari(&self) -> bool {
        self.text.contains("Mobile Safari")
    }

    fn add_products(&mut self, text: &'a str) {
        // Programs that show pages put their own names into brackets: `[FBAN/FBIOS;FBAV/440.0]`.
        let words = text.split([' ', ';', ',', '[', ']', ')', '\t']).filter(|word| !word.is_empty());
        self.products.extend(words.map(|word| word.split_once('/').unwrap_or((word, ""))));
    }
}

/// Where the comment ends that begins here, or the text does.
fn end_of_comment(comment: &str) -> usize {
    let mut depth = 1_u32;
    let end = comment.bytes().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.unwrap_or(comment.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_apart_into_products_and_the_system() {
        let header =
            Header::new("App/1.0 (Linux; U; Android 13) AppleWebKit/537.36 (KHTML, like Gecko) [FBAN/FB4A;FBAV/2]");
        assert_eq!(header.system, ["Linux", "U", "Android 13"]);
        let expected = [("App", "1.0"), ("AppleWebKit", "537.36"), ("FBAN", "FB4A"), ("FBAV", "2")];
        assert_eq!(header.products, expected);
    }

    #[test]
    fn nested_and_unmatched_parentheses_end_somewhere() {
        assert_eq!(Header::new("a (b (c; d) e; f) g").system, ["b (c", "d) e", "f"]);
        assert_eq!(Header::new("a (b; c").system, ["b", "c"]);
        assert_eq!(Header::new("a ) b/1").products, [("a", ""), ("b", "1")]);
        assert_eq!(Header::new("((((((").products, []);
    }

    #[test]
    fn what_is_longer_than_any_browsers_header_is_cut_between_characters() {
        let long = "ä".repeat(5000);
        assert!(Header::new(&format!("x{long}")).text.len() <= LOOKED_AT);
    }
}
