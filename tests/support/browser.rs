//! A browser without a screen: cookies, redirects and forms, as the inbox meets them. It sends what browsers send, and what
//! they never would.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, Url};

#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    pub origin: String,
    pub cookies: BTreeMap<String, String>,
}

/// A page, or whatever came instead.
pub struct Page {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Page {
    pub fn location(&self) -> String {
        self.headers.get("location").expect("a redirect").to_str().unwrap().to_owned()
    }

    /// The value of a hidden field, the first of that name.
    pub fn hidden(&self, name: &str) -> String {
        let marker = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&marker).unwrap_or_else(|| panic!("no `{name}` in {}", self.body));
        rest.split_once('"').unwrap().0.replace("&quot;", "\"").replace("&#34;", "\"")
    }

    pub fn says(&self, text: &str) -> bool {
        self.body.contains(text)
    }
}

impl Browser {
    pub fn new(origin: &str) -> Self {
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { http, origin: origin.to_owned(), cookies: BTreeMap::new() }
    }

    pub async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, None, &[]).await
    }

    /// A form of the inbox's own page.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let origin = self.origin.clone();
        self.post_from(path, fields, &[("origin", &origin), ("sec-fetch-site", "same-origin")]).await
    }

    pub async fn post_from(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Page {
        self.send(Method::POST, path, Some(form(fields)), headers).await
    }

    pub async fn send(&mut self, method: Method, path: &str, body: Option<String>, headers: &[(&str, &str)]) -> Page {
        let url = format!("{}{path}", self.origin);
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.http.request(method, url).header("cookie", cookies.join("; "));
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request = request.header(name, HeaderValue::from_str(value).unwrap());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => self.cookies.remove(name),
                value => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        Page { status, headers, body: response.text().await.expect("a body") }
    }

    /// Begins a login and returns where the issuer would send the person back to, with a code.
    pub async fn by_way_of_the_issuer(&mut self, login: &str, who: &str) -> String {
        let departed = self.get(login).await;
        let there = Url::parse(&departed.location()).unwrap();
        let mut fields: Vec<(String, String)> =
            there.query_pairs().map(|(name, value)| (name.into(), value.into())).collect();
        fields.push(("person".to_owned(), who.to_owned()));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut at_issuer = Self::new(&there.origin().ascii_serialization());
        let page = at_issuer.get(&format!("/authorize?{}", there.query().unwrap())).await;
        assert!(page.says("Who are you today?"), "{}", page.body);
        let back = at_issuer.post(there.path(), &fields).await.location();
        back.strip_prefix(&self.origin).expect("back at the inbox").to_owned()
    }

    /// Logs in as a demo person.
    pub async fn login(mut self, who: &str) -> Self {
        let back = self.by_way_of_the_issuer("/login?to=/", who).await;
        let landed = self.get(&back).await;
        assert_eq!((landed.status, &*landed.location()), (303, "/"), "{}", landed.body);
        self
    }

    /// Opens the stream of events.
    pub async fn follow(self) -> Following {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.http.get(format!("{}/events", self.origin)).header("cookie", cookies.join("; "));
        let stream = request.send().await.expect("an answer");
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        Following { stream, heard: String::new(), read: 0 }
    }

    /// Decides as a person would who reads the page: with what is in its form.
    pub async fn decide(&mut self, id: &str, verdict: &str, written: &[(&str, &str)]) -> Page {
        let page = self.get(&format!("/approvals/{id}")).await;
        let (token, binding, gate) = (page.hidden("form_token"), page.hidden("binding"), page.hidden("gate"));
        let mut fields = vec![("form_token", &*token), ("binding", &binding), ("gate", &gate), ("verdict", verdict)];
        fields.extend(written);
        self.post(&format!("/approvals/{id}/decision"), &fields).await
    }
}

/// A page that follows what changes.
pub struct Following {
    stream: reqwest::Response,
    /// All of it so far.
    pub heard: String,
    read: usize,
}

impl Following {
    /// Returns once it says this, once more than before.
    pub async fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.heard[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            let chunk = self.stream.chunk().await.expect("a stream that lives").expect("more of it");
            self.heard.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    Url::parse_with_params("http://form", fields).unwrap().query().unwrap_or_default().to_owned()
}
