//! A small blocking HTTP client that shows everything: no redirect is followed, no status is an error.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, Request};
use serde_json::Value;
use ureq::Agent;

/// Talks to one server with one set of credentials.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// A part of a multipart form.
pub enum Part<'a> {
    /// A field: name and value.
    Field(&'a str, &'a str),
    /// A file: name of the field, file name, content.
    File(&'a str, &'a str, &'a [u8]),
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The request, for messages.
    pub request: String,
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

const BOUNDARY: &str = "mnemosyne-test-boundary-7MA4YWxkTrZu0gW";

impl Client {
    /// A client without credentials. `base` is scheme, host and port, with or without a slash at the end.
    pub fn new(base: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            authorization: None,
        }
    }

    /// The same server with HTTP Basic.
    pub fn basic(&self, username: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{username}:{password}"));
        Self {
            authorization: Some(format!("Basic {credentials}")),
            ..self.clone()
        }
    }

    /// The same server with a bearer token.
    pub fn bearer(&self, token: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {token}")),
            ..self.clone()
        }
    }

    /// Scheme, host and port.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; `None` where no answer came (nobody listens, or it was killed meanwhile).
    pub fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Option<Answer> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base));
        if let Some(value) = &self.authorization {
            request = request.header("Authorization", value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(bytes) => self.agent.run(request.body(bytes).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let (parts, mut body) = response.ok()?.into_parts();
        let body = body.with_config().limit(256 << 20).read_to_vec().ok()?;
        let request = format!("{method} {path}");
        Some(Answer {
            request,
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        let request = format!("{method} {path}");
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|| panic!("no answer to {request}"))
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None)
    }

    /// `DELETE`.
    pub fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], None)
    }

    /// `POST` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            Method::POST,
            path,
            &[("Content-Type", "application/json")],
            Some(body.to_string().as_bytes()),
        )
    }

    /// `POST` with nothing in the body.
    pub fn post_empty(&self, path: &str) -> Answer {
        self.send(Method::POST, path, &[], Some(b""))
    }

    /// `POST` as a browser or curl sends a form with files.
    pub fn post_multipart(&self, path: &str, parts: &[Part<'_>]) -> Answer {
        let (content_type, body) = multipart(parts);
        self.send(
            Method::POST,
            path,
            &[("Content-Type", &content_type)],
            Some(&body),
        )
    }

    /// The same, where the server may be killed meanwhile.
    pub fn try_post_multipart(&self, path: &str, parts: &[Part<'_>]) -> Option<Answer> {
        let (content_type, body) = multipart(parts);
        self.try_send(
            Method::POST,
            path,
            &[("Content-Type", &content_type)],
            Some(&body),
        )
    }
}

fn multipart(parts: &[Part<'_>]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        match part {
            Part::Field(name, value) => {
                let head = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
                body.extend_from_slice(head.as_bytes());
            }
            Part::File(name, filename, content) => {
                let head = format!(
                    "Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\
                     Content-Type: application/octet-stream\r\n\r\n"
                );
                body.extend_from_slice(head.as_bytes());
                body.extend_from_slice(content);
            }
        }
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

impl Answer {
    /// Demands a status.
    ///
    /// # Panics
    /// With the body, when it is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered {}", self.request, self.text());
        self
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} answered no JSON ({error}): {}", self.request, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Demands an error as the contract has it: `{"detail": "…", "code": "…"}`.
    ///
    /// # Panics
    /// When status or code differ, or there is no sentence for a person.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        let body = answer.json();
        assert_eq!(body["code"], code, "{} answered {body}", answer.request);
        let detail = body["detail"].as_str().unwrap_or_default();
        assert!(
            detail.len() > 8,
            "{} says nothing to a person: {body}",
            answer.request
        );
        answer
    }

    /// Demands 400 with something to say about a field: `{"field": ["…"]}`.
    ///
    /// # Panics
    /// When it is another status, or the field is not named.
    #[track_caller]
    pub fn expect_field_error(self, field: &str) -> Self {
        let answer = self.expect(400);
        let body = answer.json();
        let said = body[field][0].as_str().unwrap_or_default();
        assert!(
            !said.is_empty(),
            "{} does not name {field}: {body}",
            answer.request
        );
        answer
    }
}
