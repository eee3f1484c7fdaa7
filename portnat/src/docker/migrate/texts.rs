//! Docker's config file as a text, and what tools say as one line.

use std::fs;
use std::io;
use std::path::Path;

use super::FactsError;

/// What is in a file; none if it is not there.
///
/// # Errors
/// It cannot be read, or is not what we could write again as it was.
pub(super) fn read(path: &Path) -> Result<Option<String>, FactsError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::read_link(path) {
                Ok(target) => Err(FactsError::Dangling {
                    path: path.to_owned(),
                    target,
                }),
                Err(_) => Ok(None),
            };
        }
        Err(cause) => {
            return Err(FactsError::Read {
                path: path.to_owned(),
                cause,
            });
        }
    };
    let text = |why: &'static str, with: &str| FactsError::Text {
        path: path.to_owned(),
        why,
        remedy: format!("{with} {}", path.display()),
    };
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        let with = r"sed -i '1s/^\xef\xbb\xbf//'";
        return Err(text("begins with a byte order mark", with));
    }
    // Without a mark nobody could say so.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let with = "have an editor save it as UTF-8:";
        return Err(text("is UTF-16", with));
    }
    let read = String::from_utf8(bytes);
    read.map(Some)
        .map_err(|_| text("is not UTF-8", "have an editor save it as UTF-8:"))
}

/// What a tool has said, in one line.
pub(super) fn one_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.collect();
    lines.join("; ").replace(":; ", ": ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_tool_says_is_one_line() {
        let said = b"iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_DELETE failed\n\n  Error at 3\n";
        assert_eq!(
            one_line(said),
            "iptables-nft-restore v1.8.9 (nf_tables): line 3: RULE_DELETE failed; Error at 3"
        );
    }

    #[test]
    fn what_could_not_be_written_again_is_an_error_with_what_helps() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("daemon.json");
        assert!(read(&file).expect("none").is_none());
        for (bytes, words) in [
            (
                &b"\xef\xbb\xbf{}"[..],
                "begins with a byte order mark: sed -i",
            ),
            (b"\xff\xfe{\0}\0", "is UTF-16: "),
            (b"{\"x\": \"\xe9\"}", "is not UTF-8: "),
        ] {
            fs::write(&file, bytes).expect("written");
            let error = read(&file).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
            assert!(error.starts_with(&*file.to_string_lossy()), "{error}");
        }
        fs::remove_file(&file).expect("removed");
        symlink("nowhere.json", &file).expect("a link");
        let error = read(&file).expect_err("it leads nowhere").to_string();
        assert!(
            error.contains("leads to nowhere.json, which is not there"),
            "{error}"
        );
    }
}
