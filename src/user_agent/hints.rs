//! What a browser says about itself in its `Sec-CH-UA` headers, which it sends beside a User-Agent that says less and less.

/// The client hints of a request, as far as they tell something about the device. What was not sent is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHints {
    /// The browser's names, without the one that is there to be ignored: `Chromium`, `Google Chrome`.
    pub brands: Vec<String>,
    /// Whether it wants pages for telephones.
    pub mobile: Option<bool>,
    /// The operating system: `Windows`, `macOS`, `Android`.
    pub platform: Option<String>,
    /// The model of the device: `Pixel 8`. Browsers send it only to those who ask.
    pub model: Option<String>,
}

impl ClientHints {
    /// The brand that says most: the browser's own name rather than that of the engine it is made of.
    pub(super) fn brand(&self) -> Option<&str> {
        let own = self.brands.iter().find(|brand| !matches!(brand.as_str(), "Chromium" | "Google Chrome"));
        let chrome = || self.brands.iter().find(|brand| *brand == "Google Chrome");
        own.or_else(chrome).or_else(|| self.brands.first()).map(String::as_str)
    }
}
