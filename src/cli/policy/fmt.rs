//! `policy fmt`: one layout for the policies of a directory. Schemas are left as they are: Cedar's formatter does not know
//! them.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Place;
use crate::cli::failure::Failure;
use crate::cli::screen::{Format, Screen};
use crate::cli::words::escaped;
use crate::engine::{self, FileKind, PolicySnapshot};

#[derive(Debug, Args)]
pub struct Fmt {
    #[command(flatten)]
    place: Place,
    /// Change nothing; fail where something would be changed
    #[arg(long)]
    check: bool,
}

impl Fmt {
    pub fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let settings = self.place.config()?.policy_settings();
        let mut changed = Vec::new();
        for file in PolicySnapshot::sources(&settings)?.iter().filter(|file| file.kind == FileKind::Policies) {
            let failed = |error| Failure::Failed(format!("{}: {error}", file.path));
            let text = engine::format(&file.text).map_err(failed)?;
            if text != *file.text {
                let path = PathBuf::from(&*file.path);
                if !self.check {
                    replace(&path, &text)?;
                }
                changed.push(path);
            }
        }
        self.tell(&changed, screen)
    }

    fn tell(&self, changed: &[PathBuf], screen: &mut Screen) -> Result<(), Failure> {
        let names: Vec<_> = changed.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        match screen.format {
            Format::Json => screen.json(&json!({"changed": names, "written": !self.check}))?,
            Format::Table => names.iter().try_for_each(|name| screen.line(&escaped(name)))?,
        }
        if self.check && !changed.is_empty() {
            return Err(Failure::Failed("these files are laid out otherwise; run `countersign policy fmt`".into()));
        }
        Ok(())
    }
}

/// Beside it first, then in its place: a server that watches the directory never sees half a file.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let path = std::fs::canonicalize(path)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("policy");
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    std::fs::write(&beside, text)?;
    std::fs::set_permissions(&beside, std::fs::metadata(&path)?.permissions())?;
    Ok(std::fs::rename(&beside, &path)?)
}
