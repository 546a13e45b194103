//! Cookies: two of them, which no script can read. `Lax`, because people come from links in chat; nothing is changed by a GET.
//! Where the inbox is reached over HTTPS they are bound to its host (`__Host-`).

use axum::http::{HeaderMap, HeaderValue, header};

/// How cookies are called and marked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookies {
    /// Over HTTPS.
    Secure,
    /// Over HTTP, to this machine.
    Loopback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// The id of a session.
    Session,
    /// A login under way.
    Login,
}

impl Cookies {
    fn name(self, cookie: Cookie) -> &'static str {
        match (self, cookie) {
            (Self::Secure, Cookie::Session) => "__Host-countersign-session",
            (Self::Secure, Cookie::Login) => "__Host-countersign-login",
            (Self::Loopback, Cookie::Session) => "countersign-session",
            (Self::Loopback, Cookie::Login) => "countersign-login",
        }
    }

    /// The header that sets one; for a session the browser forgets it when it closes.
    pub fn set(self, cookie: Cookie, value: &str) -> Option<HeaderValue> {
        let lifetime = match cookie {
            Cookie::Session => "",
            Cookie::Login => "; Max-Age=600",
        };
        self.header(cookie, value, lifetime)
    }

    /// The header that removes one.
    pub fn clear(self, cookie: Cookie) -> Option<HeaderValue> {
        self.header(cookie, "", "; Max-Age=0")
    }

    fn header(self, cookie: Cookie, value: &str, lifetime: &str) -> Option<HeaderValue> {
        let secure = if self == Self::Secure { "; Secure" } else { "" };
        let name = self.name(cookie);
        // Our own values are base64url, which fits.
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{lifetime}").parse().ok()
    }

    /// What the browser sent; of two of one name, none.
    pub fn read(self, cookie: Cookie, headers: &HeaderMap) -> Option<&str> {
        let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = sent.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == self.name(cookie)).map(|(_, value)| value);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_is_there_twice_is_not_there() {
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(text))]);
            Cookies::Loopback.read(Cookie::Session, &headers).map(str::to_owned)
        };
        assert_eq!(read("a=b; countersign-session=x").as_deref(), Some("x"));
        assert_eq!(read("countersign-session=x; countersign-session=y"), None);
        assert_eq!(read("__Host-countersign-session=x"), None);
    }

    #[test]
    fn over_https_a_cookie_is_bound_to_its_host() {
        let set = Cookies::Secure.set(Cookie::Session, "x").unwrap();
        assert_eq!(set, "__Host-countersign-session=x; Path=/; HttpOnly; SameSite=Lax; Secure");
    }
}
