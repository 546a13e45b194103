//! Keys and tokens that their issuers made to be recognized: a prefix, an alphabet, a length. The prefixes are those that the
//! issuers document for scanners.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::ops::Range;

use crate::domain::DataKind;
use crate::masking::shape::{Check, Edge, Shape};

/// Where one of them can begin.
pub const PREFIXES: &[&str] = &[
    "AKIA",
    "ASIA",
    "ABIA",
    "ACCA",
    "AIza",
    "ya29.",
    "GOCSPX-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "xoxe",
    "xapp-",
    "hooks.slack.com/services/",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "whsec_",
    "eyJ",
    "glpat-",
    "npm_",
    "pypi-",
    "sk-",
    "SG.",
    "hf_",
    "dop_v1_",
    "shpat_",
    "shpss_",
    "AccountKey=",
    "SharedAccessKey=",
    "sig=",
    "Bearer ",
    "Basic ",
    "DefaultEndpointsProtocol=",
    "Endpoint=sb://",
    "SK",
    "key-",
    "AGE-SECRET-KEY-1",
    "hvs.",
    "dckr_pat_",
    "sq0",
];

pub const SHAPES: &[Shape] = &[
    token(DataKind::AWS_ACCESS_KEY, "(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}", "AWS access key id"),
    token(DataKind::GCP_API_KEY, "AIza[0-9A-Za-z_-]{35}", "Google API key"),
    token(DataKind::GCP_API_KEY, "ya29\\.[0-9A-Za-z_-]{20,}", "Google access token"),
    token(DataKind::GCP_API_KEY, "GOCSPX-[0-9A-Za-z_-]{28}", "Google client secret"),
    token(DataKind::GITHUB_TOKEN, "gh[pousr]_[0-9A-Za-z]{36,}", "GitHub token"),
    token(DataKind::GITHUB_TOKEN, "github_pat_[0-9A-Za-z_]{50,}", "GitHub token"),
    token(DataKind::SLACK_TOKEN, "xox[abeprs](?:\\.xox[bp])?-[0-9A-Za-z-]{10,}", "Slack token"),
    token(DataKind::SLACK_TOKEN, "xapp-[0-9]-[0-9A-Za-z-]{20,}", "Slack app token"),
    token(DataKind::SLACK_TOKEN, "hooks\\.slack\\.com/services/[0-9A-Z]+/[0-9A-Z]+/[0-9A-Za-z]{16,}", "Slack webhook"),
    token(DataKind::STRIPE_KEY, "[rs]k_(?:live|test)_[0-9A-Za-z]{16,}", "Stripe key"),
    token(DataKind::STRIPE_KEY, "whsec_[0-9A-Za-z+/]{24,100}={0,2}", "webhook secret"),
    token(DataKind::API_KEY, "glpat-[0-9A-Za-z_-]{20,}", "GitLab token"),
    token(DataKind::API_KEY, "npm_[0-9A-Za-z]{36}", "npm token"),
    token(DataKind::API_KEY, "pypi-[0-9A-Za-z_-]{50,}", "PyPI token"),
    token(DataKind::API_KEY, "sk-(?:ant-|proj-|svcacct-)?[0-9A-Za-z_-]{32,}", "API key of a model's provider"),
    token(DataKind::API_KEY, "SG\\.[0-9A-Za-z_-]{22}\\.[0-9A-Za-z_-]{43}", "SendGrid key"),
    token(DataKind::API_KEY, "SK[0-9a-f]{32}", "Twilio key"),
    token(DataKind::API_KEY, "hf_[0-9A-Za-z]{30,}", "Hugging Face token"),
    token(DataKind::API_KEY, "dop_v1_[0-9a-f]{64}", "DigitalOcean token"),
    token(DataKind::API_KEY, "shp(?:at|ss)_[0-9a-fA-F]{32}", "Shopify token"),
    token(DataKind::API_KEY, "hvs\\.[0-9A-Za-z_-]{24,}", "Vault token"),
    token(DataKind::API_KEY, "dckr_pat_[0-9A-Za-z_-]{27}", "Docker token"),
    token(DataKind::API_KEY, "key-[0-9a-f]{32}", "Mailgun key"),
    token(DataKind::API_KEY, "sq0(?:atp|csp)-[0-9A-Za-z_-]{22,}", "Square token"),
    token(DataKind::PRIVATE_KEY, "AGE-SECRET-KEY-1[0-9A-Z]{58}", "age key"),
    Shape {
        edge: Edge::Word,
        ..Shape::sure(
            DataKind::AZURE_KEY,
            "(?:AccountKey|SharedAccessKey)=[0-9A-Za-z+/]{40,}={0,2}",
            Check::Part(after_equals),
            97,
            "Azure key",
        )
    },
    Shape {
        edge: Edge::Word,
        ..Shape::sure(
            DataKind::AZURE_KEY,
            "sig=[0-9A-Za-z%+/]{40,}(?:=|%3D|%3d){0,2}",
            Check::Part(after_equals),
            90,
            "Azure signature",
        )
    },
    Shape {
        edge: Edge::Word,
        ..Shape::sure(
            DataKind::CONNECTION_STRING,
            "(?:DefaultEndpointsProtocol|Endpoint)=[0-9A-Za-z:/._-]+(?:;[0-9A-Za-z]+=[0-9A-Za-z+/=:._-]+)+",
            Check::Valid(has_key),
            99,
            "connection string with a key",
        )
    },
    Shape {
        edge: Edge::Word,
        ..Shape::sure(
            DataKind::JWT,
            "eyJ[0-9A-Za-z_-]{8,}\\.[0-9A-Za-z_-]{2,}\\.[0-9A-Za-z_-]*",
            Check::Valid(jwt),
            98,
            "JSON Web Token",
        )
    },
    Shape {
        edge: Edge::Word,
        ..Shape::sure(
            DataKind::BEARER_TOKEN,
            "[Bb]earer [0-9A-Za-z._~+/-]{16,}={0,2}",
            Check::Part(bearer),
            96,
            "after the word Bearer",
        )
    },
    Shape {
        edge: Edge::Word,
        ..Shape::sure(
            DataKind::BASIC_CREDENTIALS,
            "[Bb]asic [0-9A-Za-z+/]{6,}={0,2}",
            Check::Part(basic),
            97,
            "name and password after the word Basic",
        )
    },
];

const fn token(kind: DataKind, pattern: &'static str, why: &'static str) -> Shape {
    Shape { edge: Edge::Word, ..Shape::sure(kind, pattern, Check::None, 97, why) }
}

fn after_equals(text: &str) -> Option<Range<usize>> {
    text.find('=').map(|at| at + 1..text.len())
}

fn after_space(text: &str) -> Option<Range<usize>> {
    text.find(' ').map(|at| at + 1..text.len())
}

fn has_key(text: &str) -> bool {
    text.contains("Key=")
}

/// A header that names its algorithm.
fn jwt(text: &str) -> bool {
    let head = text.split('.').next().unwrap_or_default();
    URL_SAFE_NO_PAD.decode(head).is_ok_and(|head| head.windows(5).any(|part| part == b"\"alg\""))
}

/// A word of sixteen letters is no token.
fn bearer(text: &str) -> Option<Range<usize>> {
    after_space(text).filter(|_| text.bytes().any(|byte| byte.is_ascii_digit()))
}

fn basic(text: &str) -> Option<Range<usize>> {
    let span = after_space(text)?;
    let decoded = STANDARD.decode(text.get(span.clone())?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    (decoded.contains(':') && !decoded.chars().any(char::is_control)).then_some(span)
}
