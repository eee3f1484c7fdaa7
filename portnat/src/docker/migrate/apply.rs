//! All of a plan is done, or nothing: what was there before is put back where something fails.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::saved::only;
use super::texts::one_line;
use super::{Facts, FileChange, Plan, RuleChange};

/// Why nothing is done.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Something is in the way, which the plan says.
    #[error("nothing is changed: {0}")]
    Refused(String),
    /// A file cannot be written.
    #[error("nothing is changed: writing {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The rules cannot be changed.
    #[error("nothing is changed: {tool}: {why}")]
    Tool {
        /// What was to change them.
        tool: String,
        /// What it says.
        why: String,
    },
    /// Something could not be put back.
    #[error("{first}; and this could not be put back: {second}")]
    Half {
        /// What went wrong first.
        first: Box<ApplyError>,
        /// And then.
        second: Box<ApplyError>,
    },
}

/// Does what the plan says.
///
/// # Errors
/// Names what cannot be done. All is as it was then, unless the error says otherwise.
pub fn apply(plan: &Plan, facts: &Facts) -> Result<(), ApplyError> {
    if let Some(obstacle) = plan.refused.first() {
        return Err(ApplyError::Refused(obstacle.what.clone()));
    }
    // Whether they are understood at all.
    for change in &plan.rules {
        restore(&change.tool, &["--noflush", "--test"], &change.script)?;
    }
    if let Some(change) = &plan.daemon_json
        && let Err(first) = write(change, facts, plan.back)
    {
        return Err(undo(first, plan, facts, &[]));
    }
    let mut done = Vec::new();
    for change in &plan.rules {
        done.push(change);
        if let Err(first) = restore(&change.tool, &["--noflush"], &change.script) {
            return Err(undo(first, plan, facts, &done));
        }
    }
    // In one transaction.
    let orders = plan.nft_tables.iter();
    let orders: String = orders
        .map(|table| format!("delete table {table}\n"))
        .collect();
    if !orders.is_empty()
        && let Err(first) = feed("nft", &["-f", "-"], &orders)
    {
        return Err(undo(first, plan, facts, &done));
    }
    if let Some(change) = plan.daemon_json.as_ref().filter(|_| plan.back) {
        // All is as before without it.
        let _ = fs::remove_file(&change.backup);
    }
    Ok(())
}

/// Puts back what was there.
fn undo(first: ApplyError, plan: &Plan, facts: &Facts, done: &[&RuleChange]) -> ApplyError {
    let mut wrong = Vec::new();
    for change in done.iter().rev() {
        let mut all = facts.tables.iter();
        let Some(before) = all.find(|tables| tables.tool == change.tool) else {
            continue;
        };
        let tables: Vec<_> = change.tables.iter().map(String::as_str).collect();
        wrong.extend(restore(&change.tool, &[], &only(&before.text, &tables)).err());
    }
    if let Some(change) = &plan.daemon_json {
        let old = facts.file.text.as_deref();
        wrong.extend(put(&change.path, old, &change.path).err());
        if !plan.back {
            let kept = facts.file.backup.as_deref();
            wrong.extend(put(&change.backup, kept, &change.path).err());
        }
    }
    match wrong.into_iter().next() {
        None => first,
        Some(second) => ApplyError::Half {
            first: first.into(),
            second: second.into(),
        },
    }
}

/// Writes the file, behind the copy of what was in it.
fn write(change: &FileChange, facts: &Facts, back: bool) -> Result<(), ApplyError> {
    let folder = change.path.parent().filter(|it| !it.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).map_err(|cause| ApplyError::Write {
            path: folder.to_owned(),
            cause,
        })?;
    }
    // What was there before the first time is the way back.
    if !back && facts.file.backup.is_none() {
        let old = facts.file.text.as_deref().unwrap_or_default();
        put(&change.backup, Some(old), &change.path)?;
    }
    put(&change.path, change.after.as_deref(), &change.path)
}

/// Has this text in the file, or no file. Who reads it meanwhile finds the old one or the new. A new one is
/// for those to read who may read `like`.
fn put(path: &Path, text: Option<&str>, like: &Path) -> Result<(), ApplyError> {
    let written = match text {
        Some(text) => replace(path, text, like),
        None => match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
    };
    written.map_err(|cause| ApplyError::Write {
        path: path.to_owned(),
        cause,
    })
}

fn replace(path: &Path, text: &str, like: &Path) -> io::Result<()> {
    // Of a link what it leads to.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut new = path.clone().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    let fill = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&new)?;
        if let Ok(old) = fs::metadata(&path).or_else(|_| fs::metadata(like)) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
            let permissions: Permissions = old.permissions();
            file.set_permissions(permissions)?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    fill().inspect_err(|_| {
        // What is not whole is of no use; that it cannot be removed is the lesser evil.
        let _ = fs::remove_file(&new);
    })
}

/// Each table is one transaction. Of the older kind only one can be under way at a time.
fn restore(tool: &str, options: &[&str], script: &str) -> Result<(), ApplyError> {
    let options = [&["--wait", "5"], options].concat();
    feed(&format!("{tool}-restore"), &options, script)
}

fn feed(tool: &str, arguments: &[&str], script: &str) -> Result<(), ApplyError> {
    let wrong = |why: String| ApplyError::Tool {
        tool: tool.to_owned(),
        why,
    };
    let fed = || {
        let mut child = Command::new(tool)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = fed().map_err(|error| wrong(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(wrong(one_line(&output.stderr))),
    }
}
