//! The dockerd that runs, and what it was started with.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::net::UnixStream;

/// The flag that names the config file.
const CONFIG_FILE: &str = "--config-file";

/// What dockerd was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Its command line.
    pub(super) arguments: Vec<String>,
    /// Where relative paths begin.
    folder: PathBuf,
}

impl Process {
    /// Who listens at the socket; where a service manager opened it or somebody else is between, who else it may be.
    pub(super) async fn at(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok();
        let peer = stream.and_then(|stream| stream.peer_cred().ok()?.pid());
        peer.and_then(Self::dockerd).or_else(Self::find)
    }

    /// By the file where it writes its number, or as the only one of this network namespace.
    pub(super) fn find() -> Option<Self> {
        let written = fs::read_to_string("/run/docker.pid").unwrap_or_default();
        let written = written.trim().parse().ok();
        written.and_then(Self::dockerd).or_else(|| {
            let listed = fs::read_dir("/proc").ok()?.flatten();
            let numbers = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            let mut here = numbers.filter(|id| is_here(*id)).filter_map(Self::dockerd);
            match (here.next(), here.next()) {
                (Some(only), None) => Some(only),
                _ => None,
            }
        })
    }

    /// What systemd would start.
    pub(super) fn of_unit() -> Option<Self> {
        let words = ["show", "--property=ExecStart", "--value", "docker.service"];
        let output = Command::new("systemctl").args(words).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Self::started_by(&text)
    }

    /// `{ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd -H fd:// ; … }`, as systemctl shows it.
    fn started_by(shown: &str) -> Option<Self> {
        let (_, behind) = shown.split_once("argv[]=")?;
        let command = behind.split(" ; ").next()?;
        Some(Process {
            arguments: command.split_whitespace().map(str::to_owned).collect(),
            folder: "/".into(),
        })
    }

    /// The process of this number, if it is one.
    fn dockerd(id: i32) -> Option<Self> {
        let command = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let words = command.split(|byte| *byte == 0);
        let arguments: Vec<_> = words
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let program = Path::new(arguments.first()?).file_name()?;
        program.to_str()?.starts_with("dockerd").then(|| Process {
            arguments,
            folder: fs::read_link(format!("/proc/{id}/cwd")).unwrap_or_default(),
        })
    }

    /// The config file that it was told to read. Of several the last counts.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        let mut words = self.arguments.iter().skip(1).peekable();
        let mut named = None;
        while let Some(word) = words.next() {
            match word.strip_prefix(CONFIG_FILE) {
                Some("") => named = words.peek().map(|next| next.as_str()),
                Some(rest) => named = rest.strip_prefix('=').or(named),
                None => {}
            }
        }
        named.map(|path| self.folder.join(path))
    }
}

/// Whether a process is in our network namespace.
fn is_here(id: i32) -> bool {
    let number = |process: &str| {
        let file = fs::metadata(format!("/proc/{process}/ns/net"));
        file.ok().map(|it| (it.dev(), it.ino()))
    };
    let own = number("thread-self");
    own.is_some() && number(&id.to_string()) == own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_file(arguments: &str) -> Option<PathBuf> {
        let process = Process {
            arguments: arguments.split(' ').map(str::to_owned).collect(),
            folder: "/srv".into(),
        };
        process.config_file()
    }

    #[test]
    fn the_config_file_is_as_its_command_line_names_it() {
        for (arguments, wanted) in [
            ("dockerd -H fd://", None),
            ("dockerd --config-file /a.json -D", Some("/a.json")),
            ("dockerd --config-file=/a.json", Some("/a.json")),
            ("dockerd --config-file=a.json", Some("/srv/a.json")),
            ("dockerd --config-file a --config-file=/b", Some("/b")),
            ("dockerd --config-files=/a", None),
            ("dockerd --config-file", None),
        ] {
            assert_eq!(
                config_file(arguments),
                wanted.map(PathBuf::from),
                "{arguments}"
            );
        }
    }

    #[test]
    fn as_systemd_shows_it() {
        let shown = "{ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd -H fd:// --config-file=/x.json ; \
                     ignore_errors=no ; pid=0 ; code=(null) ; status=0/0 }\n";
        let process = Process::started_by(shown).expect("a command");
        assert_eq!(process.config_file(), Some("/x.json".into()));
        assert_eq!(Process::started_by("\n"), None, "there is no such unit");
    }
}
