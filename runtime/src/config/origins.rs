//! The origins of pages: `https://console.example.com`, `*`.

use http::Uri;

use super::value::Setting;

/// Whose pages may use the API in browsers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    /// Nobody's.
    None,
    /// Everybody's.
    Any,
    /// Those of these origins, each as browsers send it.
    These(Vec<String>),
}

/// `https://a.example.com,http://localhost:3000`, `*`, or `none`.
impl Setting for Origins {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "*" => Ok(Self::Any),
            _ => text.split(',').map(|part| origin(part.trim())).collect::<Result<_, _>>().map(Self::These),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Any => "*".to_owned(),
            Self::These(origins) => origins.join(","),
        }
    }
}

/// Scheme, host and port, in small letters and without what a browser leaves out: it is compared letter by letter.
fn origin(text: &str) -> Result<String, String> {
    let wrong = |why: &str| format!("`{text}` is no origin such as `https://app.example.com`: {why}");
    if text == "*" {
        return Err(wrong("`*` stands alone or not at all"));
    }
    let uri: Uri = text.parse().map_err(|_| wrong("it cannot be read"))?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("it begins with `http://` or `https://`"));
    };
    if text != format!("{scheme}://{authority}") || authority.as_str().contains('@') {
        return Err(wrong("it ends after the host or its port, without a slash"));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong("browsers send it in small letters"));
    }
    if matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443))) {
        return Err(wrong("browsers leave the scheme's own port out"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_send_them_and_nothing_else_is() {
        for text in ["none", "*", "https://a.example.com", "http://localhost:3000,https://b.example.com:8443"] {
            assert_eq!(Origins::read(text).unwrap().show(), text);
        }
        let bad = [
            "",
            "a.example.com",
            "https://a.example.com/",
            "https://a.example.com/path",
            "https://a.example.com,*",
            "https://A.example.com",
            "https://a.example.com:443",
            "https://user@a.example.com",
            "ftp://a.example.com",
            "null",
        ];
        for text in bad {
            assert!(Origins::read(text).is_err(), "{text}");
        }
    }
}
