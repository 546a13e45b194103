//! The scripts, each named by its hash as Redis names it.

use redis::{Cmd, Pipeline, Script};

pub struct Scripts {
    /// Opens an approval; refused when Redis is out of memory.
    pub open: Loaded,
    /// The same for everything else, which must go on then: votes, expiry, redemption.
    pub change: Loaded,
    pub begin: Loaded,
    pub reserve: Loaded,
    pub release: Loaded,
    pub retire: Loaded,
    pub renew: Loaded,
    pub mark: Loaded,
    pub claim: Loaded,
    pub heal: Loaded,
    /// Puts entities; refused when Redis is out of memory.
    pub put: Loaded,
    /// The same where entities only go.
    pub forget: Loaded,
}

/// A script and its name.
pub struct Loaded {
    text: String,
    hash: String,
}

impl Loaded {
    fn new(flags: &str, text: &str) -> Self {
        let text = format!("#!lua{flags}\n{text}");
        let hash = Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }

    /// One that makes an event, behind the checks that all of these make.
    fn entering(flags: &str, text: &str) -> Self {
        let enter = include_str!("scripts/enter.lua");
        Self::new(flags, &format!("{enter}\n{text}"))
    }

    /// The beginning of a call, for `keys`; its arguments follow.
    pub fn call(&self, keys: &[Vec<u8>]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }
}

impl Scripts {
    pub fn new() -> Self {
        let commit = include_str!("scripts/commit.lua");
        let entities = include_str!("scripts/entities.lua");
        let always = " flags=allow-oom";
        Self {
            open: Loaded::entering("", commit),
            change: Loaded::entering(always, commit),
            begin: Loaded::new(always, include_str!("scripts/begin.lua")),
            reserve: Loaded::new("", include_str!("scripts/reserve.lua")),
            release: Loaded::new(always, include_str!("scripts/release.lua")),
            retire: Loaded::new(always, include_str!("scripts/retire.lua")),
            renew: Loaded::new(always, include_str!("scripts/renew.lua")),
            mark: Loaded::new(always, include_str!("scripts/mark.lua")),
            claim: Loaded::new(always, include_str!("scripts/claim.lua")),
            heal: Loaded::new(always, include_str!("scripts/heal.lua")),
            put: Loaded::entering("", entities),
            forget: Loaded::entering(always, entities),
        }
    }

    /// What makes them known to a server.
    pub fn load(&self) -> Pipeline {
        let mut commands = Pipeline::new();
        let Self { open, change, begin, reserve, release, retire, renew, mark, claim, heal, put, forget } = self;
        for script in [open, change, begin, reserve, release, retire, renew, mark, claim, heal, put, forget] {
            commands.cmd("SCRIPT").arg("LOAD").arg(&script.text);
        }
        commands
    }
}
