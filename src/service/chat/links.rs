//! Who is linked: accounts of chat products, and the people who linked them after logging in here. Small sealed files in a
//! directory that replicas may share:
//!
//! - `accounts/<hash of the account>`: whose it is, and since when. A link is there if and only if this file is.
//! - `people/<hash of issuer and subject>`: the person as of the last login here, groups included.
//! - `codes/<hash of the code>`: a code that a person got at the inbox, and enters from the account to be linked.
//!
//! Never by e-mail or by name: whoever enters the code has the account, and whoever got it was logged in. A file that
//! was made or moved by somebody without the key is no file of ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::Key;
use crate::domain::{Credential, EntityUid, Identity, PrincipalKind, Proof, ProofMethod, Timestamp};
use crate::files;
use crate::notify::settings::Kind;

/// How long a code can be entered.
pub const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// Codes that wait to be entered; past it nobody gets one.
const CODES_MAX: usize = 10_000;
/// Of one person, so that nobody takes those of others; the next ends the oldest.
const CODES_PER_PERSON_MAX: usize = 3;
const CODE_BYTES: usize = 16;
/// Links in all.
const ACCOUNTS_MAX: usize = 100_000;

/// Where people have accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    Slack,
    Teams,
}

/// An account of a chat product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub product: Product,
    /// The workspace or tenant.
    pub workspace: String,
    /// The account's id in there.
    pub user: String,
}

/// An account and since when it is linked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    pub account: Account,
    pub at_micros: i64,
    person: String,
}

/// A person as of the last login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Person {
    uid: (String, String),
    groups: Vec<(String, String)>,
    issuer: String,
    subject: String,
    display_name: Option<String>,
    issuer_name: String,
    /// When the issuer stated this.
    issued_at_micros: i64,
}

#[derive(Serialize, Deserialize)]
struct Code {
    person: Person,
    ends_at_micros: i64,
}

/// What a code is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    Linked,
    /// Unknown, too old, or used: nobody is told which.
    Refused,
}

pub struct Links {
    dir: PathBuf,
    key: Key,
}

impl Product {
    const fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Teams => "teams",
        }
    }
}

impl From<Product> for Kind {
    fn from(product: Product) -> Self {
        match product {
            Product::Slack => Self::Slack,
            Product::Teams => Self::Teams,
        }
    }
}

impl Account {
    /// As records show it: `slack:T123/U456`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}/{}", self.product.name(), self.workspace, self.user)
    }

    pub(super) fn file(&self) -> String {
        hashed(&[self.product.name(), &self.workspace, &self.user])
    }
}

/// All methods block on the file system.
impl Links {
    pub fn open(dir: &Path, key: Key) -> io::Result<Self> {
        for part in ["accounts", "people", "codes"] {
            fs::create_dir_all(dir.join(part))?;
        }
        Ok(Self { dir: dir.to_owned(), key })
    }

    /// A code for the person, to be entered from the account; `None` if there are too many.
    pub fn begin(&self, identity: &Identity, now: Timestamp) -> io::Result<Option<String>> {
        let Some(person) = Person::of(identity) else { return Ok(None) };
        let mut waiting = 0;
        let mut own = Vec::new();
        for entry in fs::read_dir(self.dir.join("codes"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            match self.read::<Code>("codes", &name)?.filter(|code| !code.is_over(now)) {
                None => self.remove("codes", &name)?,
                Some(code) if code.person.file() == person.file() => own.push((code.ends_at_micros, name)),
                Some(_) => waiting += 1,
            }
        }
        own.sort_unstable();
        for (_, name) in own.iter().rev().skip(CODES_PER_PERSON_MAX - 1) {
            self.remove("codes", name)?;
        }
        if waiting >= CODES_MAX {
            return Ok(None);
        }
        let mut bytes = [0; CODE_BYTES];
        rand::fill(&mut bytes).map_err(|_| io::Error::other("the system has no random numbers"))?;
        let code = URL_SAFE_NO_PAD.encode(bytes);
        let ends_at_micros = now.after(CODE_LIFETIME).as_micros();
        self.write("codes", &hashed(&[&code]), &Code { person, ends_at_micros })?;
        Ok(Some(code))
    }

    /// Links the account with whoever got the code. A code links once.
    pub fn enter(&self, account: &Account, code: &str, now: Timestamp) -> io::Result<Entered> {
        let name = hashed(&[code.trim()]);
        let Some(found) = self.read::<Code>("codes", &name)? else { return Ok(Entered::Refused) };
        // INVARIANT: of two who enter one code, the file system lets one remove it.
        match fs::remove_file(self.path("codes", &name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entered::Refused),
            removed => removed?,
        }
        let is_full = fs::read_dir(self.dir.join("accounts"))?.take(ACCOUNTS_MAX).count() >= ACCOUNTS_MAX;
        if found.is_over(now) || is_full {
            return Ok(Entered::Refused);
        }
        self.note(&found.person)?;
        let person = found.person.file();
        let linked = Linked { account: account.clone(), at_micros: now.as_micros(), person };
        self.write("accounts", &account.file(), &linked)?;
        Ok(Entered::Linked)
    }

    /// Notes the person as of this login, if any account is linked.
    pub fn logged_in(&self, identity: &Identity) -> io::Result<()> {
        let Some(person) = Person::of(identity) else { return Ok(()) };
        if self.path("people", &person.file()).exists() { self.note(&person) } else { Ok(()) }
    }

    /// INVARIANT: what a later login said stays: an older one might bring back groups that were taken away meanwhile.
    fn note(&self, person: &Person) -> io::Result<()> {
        let known = self.read::<Person>("people", &person.file())?;
        if known.is_some_and(|known| known.issued_at_micros > person.issued_at_micros) {
            return Ok(());
        }
        self.write("people", &person.file(), person)
    }

    /// The accounts of a person.
    pub fn of(&self, identity: &Identity) -> io::Result<Vec<Linked>> {
        let person = hashed(&[&identity.issuer, &identity.subject]);
        let mut found = Vec::new();
        for entry in fs::read_dir(self.dir.join("accounts"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            found.extend(self.read::<Linked>("accounts", &name)?.filter(|linked| linked.person == person));
        }
        found.sort_by_key(|linked| linked.at_micros);
        Ok(found)
    }

    /// Ends the link of an account that is this person's. Nothing else ends: a link that is somebody else's stays.
    pub fn revoke(&self, identity: &Identity, account: &str) -> io::Result<()> {
        for linked in self.of(identity)?.iter().filter(|linked| linked.account.name() == account) {
            self.remove("accounts", &linked.account.file())?;
        }
        Ok(())
    }

    /// Whose the account is, as a click proves it.
    pub fn person(&self, account: &Account) -> io::Result<Option<Identity>> {
        let Some(linked) = self.read::<Linked>("accounts", &account.file())? else { return Ok(None) };
        let person = self.read::<Person>("people", &linked.person)?;
        Ok(person.filter(|_| linked.account == *account).map(|person| person.clicking(&linked)))
    }

    fn path(&self, part: &str, name: &str) -> PathBuf {
        self.dir.join(part).join(name)
    }

    /// What stands there; `None` if nothing does, or nothing of ours.
    fn read<T: for<'a> Deserialize<'a>>(&self, part: &str, name: &str) -> io::Result<Option<T>> {
        let text = match fs::read_to_string(self.path(part, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let plain = self.key.open(&format!("{part}/{name}"), &text);
        Ok(plain.and_then(|plain| serde_json::from_slice(&plain).ok()))
    }

    /// A crash leaves the old file or the new one.
    fn write(&self, part: &str, name: &str, content: &impl Serialize) -> io::Result<()> {
        let sealed = self.key.close(&format!("{part}/{name}"), &serde_json::to_vec(content)?);
        let sealed = sealed.ok_or_else(|| io::Error::other("the system has no random numbers"))?;
        let beside = self.dir.join(format!("{name}.{}", uuid::Uuid::now_v7().simple()));
        files::replace(&self.path(part, name), &beside, sealed.as_bytes())
    }

    fn remove(&self, part: &str, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(part, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                removed?;
                fs::File::open(self.dir.join(part))?.sync_all()
            }
        }
    }
}

impl Code {
    fn is_over(&self, now: Timestamp) -> bool {
        Timestamp::from_micros(self.ends_at_micros).is_due(now)
    }
}

impl Person {
    /// A person who logged in here by a token, alone; nobody else is linked.
    fn of(identity: &Identity) -> Option<Self> {
        let is_person = identity.kind == PrincipalKind::User && identity.proof.method == ProofMethod::Token;
        let credential = identity.proof.credential.as_deref()?;
        let pair = |uid: &EntityUid| (uid.type_name.to_string(), uid.id.to_string());
        (is_person && identity.on_behalf_of.is_none() && identity.earlier_actors.is_empty()).then_some(())?;
        Some(Self {
            uid: pair(&identity.uid),
            groups: identity.groups.iter().map(pair).collect(),
            issuer: identity.issuer.to_string(),
            subject: identity.subject.to_string(),
            display_name: identity.display_name.as_ref().map(ToString::to_string),
            issuer_name: credential.issuer_name.to_string(),
            issued_at_micros: credential.issued_at?.as_micros(),
        })
    }

    fn file(&self) -> String {
        hashed(&[&self.issuer, &self.subject])
    }

    /// The person by a click of the account. INVARIANT: it has no time, class or method of a login.
    fn clicking(&self, linked: &Linked) -> Identity {
        let uid = |(type_name, id): &(String, String)| EntityUid::new(type_name, id);
        let at = Timestamp::from_micros(linked.at_micros);
        let credential = Credential {
            issuer_name: self.issuer_name.as_str().into(),
            issuer_spelt: self.issuer.as_str().into(),
            profile: "linked account".into(),
            client: Some(linked.account.name().into()),
            token_id: Some(format!("linked at {at}").into()),
            issued_at: Some(Timestamp::from_micros(self.issued_at_micros)),
            ..Credential::default()
        };
        Identity {
            uid: uid(&self.uid),
            kind: PrincipalKind::User,
            groups: self.groups.iter().map(uid).collect(),
            issuer: self.issuer.as_str().into(),
            subject: self.subject.as_str().into(),
            display_name: self.display_name.as_deref().map(Into::into),
            on_behalf_of: None,
            earlier_actors: Vec::new(),
            proof: Proof {
                method: ProofMethod::Chat,
                expires_at: Timestamp::MAX,
                authenticated_at: None,
                credential: Some(Arc::new(credential)),
            },
        }
    }
}

/// Parts of any content make one name, and no two lists the same.
fn hashed(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
