//! Who plays in a file of tests: what a verified token would say of them, said by the test instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::notation::uid;
use super::suite::{Kind, Person};
use crate::domain::identity::Credential;
use crate::domain::{Identity, PrincipalKind};

/// How many act for one another at most.
const CHAIN_MAX: usize = 4;

pub(super) struct Cast<'s> {
    people: &'s BTreeMap<String, Person>,
}

impl<'s> Cast<'s> {
    pub fn new(people: &'s BTreeMap<String, Person>) -> Self {
        Self { people }
    }

    /// Somebody by name, or by an entity that stands for somebody without groups.
    ///
    /// # Errors
    /// What is wrong with the name or the person.
    pub fn identity(&self, name: &str) -> Result<Identity, String> {
        self.chain(name, CHAIN_MAX)
    }

    fn chain(&self, name: &str, most: usize) -> Result<Identity, String> {
        let Some(person) = self.people.get(name) else {
            let uid = uid(name, None).map_err(|_| format!("`{name}` is neither one of `principals` nor an entity"))?;
            return identity(Person { uid: uid.to_string(), ..Person::default() });
        };
        let most = most.checked_sub(1).ok_or_else(|| format!("`{name}`: acts for too many"))?;
        let person_for = person.on_behalf_of.as_deref().map(|other| self.chain(other, most)).transpose()?;
        let mut whole = identity(person.clone()).map_err(|message| format!("principal `{name}`: {message}"))?;
        whole.on_behalf_of = person_for.map(Box::new);
        Ok(whole)
    }
}

fn identity(person: Person) -> Result<Identity, String> {
    let uid = uid(&person.uid, None)?;
    let groups = person.groups.iter().map(|group| super::notation::uid(group, Some("Group")));
    let mut identity = Identity::imagined(&uid.type_name, &uid.id, &[]);
    identity.kind = match person.kind {
        None => identity.kind,
        Some(Kind::User) => PrincipalKind::User,
        Some(Kind::Agent) => PrincipalKind::Agent,
        Some(Kind::Workload) => PrincipalKind::Workload,
    };
    identity.groups = groups.collect::<Result<_, _>>()?;
    // A user and an agent of one name are two.
    identity.subject = uid.to_string().into();
    identity.proof.credential = Some(Arc::new(Credential {
        acr: person.acr.as_deref().map(Into::into),
        amr: person.amr.iter().map(|amr| amr.as_str().into()).collect(),
        ..Credential::default()
    }));
    Ok(identity)
}
