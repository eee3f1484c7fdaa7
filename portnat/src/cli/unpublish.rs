//! `portnat unpublish`

use std::process::ExitCode;
use std::str::FromStr;

use crate::control::{Client, SocketArg, aim};
use crate::flows::PortFilter;
use crate::spec::{Target, Wish};

/// Publish ports no more, and end their flows at once.
///
/// Prints what is not published any more. If something that is named is not published nothing is
/// changed, and the exit code is 1. A port that the config file publishes comes back with the next
/// reload.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A target's address, or a container's name, for all its ports; or ports of the host:
    /// [IP:]PORT[-LAST][/PROTO], where IP is the address that they are published on. What is published as a
    /// range goes as a whole; what waits for a container of Docker's that does not run goes too.
    #[arg(value_name = "TARGET|PORT")]
    what: What,

    /// Only these ports of the target: [[IP:][HOSTPORT]:]PORT[/PROTO], as they were published; 80
    /// alone is every port of the host that leads to the target's port 80. May be given several
    /// times.
    #[arg(short, long = "publish", value_name = "SPEC")]
    publish: Vec<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    socket: SocketArg,
}

/// Which ports are meant.
#[derive(Clone, Debug)]
enum What {
    Target(Target),
    Port(PortFilter),
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A number is a port, though it might be the begin of a name.
        match (text.parse(), text.parse()) {
            (Ok(Target::Container(_)), Ok(port)) | (Err(_), Ok(port)) => Ok(What::Port(port)),
            (Ok(target), _) => Ok(What::Target(target)),
            (Err(_), Err(_)) => Err(
                "neither a target's address or name nor a port of the host, such as 172.17.0.2, \
                 web or 8080/tcp"
                    .to_owned(),
            ),
        }
    }
}

/// Unpublishes, and says what.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.socket.socket);
    let ports = match args.what {
        What::Target(target) => {
            let aimed = aim::<Wish>(&target.to_string(), &args.publish);
            if let Err(error) = aimed {
                return Ok(super::misused(error));
            }
            client.unpublish_target(&target, &args.publish)?
        }
        What::Port(_) if !args.publish.is_empty() => {
            return Ok(super::misused("-p says which ports of a target: name it"));
        }
        What::Port(port) => client.unpublish_port(&port)?,
    };
    if args.json {
        super::print(serde_json::to_string_pretty(&ports)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for port in &ports.unpublished {
        super::print(format_args!("unpublished {port}"))?;
    }
    for spec in &ports.waiting {
        super::print(format_args!(
            "unpublished {spec}, which waited for its container"
        ))?;
    }
    if ports.flows_ended > 0 {
        super::print(format_args!(
            "ended {}",
            super::flows::number(ports.flows_ended)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_from_targets() {
        let read = |text: &str| text.parse::<What>();
        for (text, target) in [
            ("172.17.0.2", "172.17.0.2"),
            ("fd00::2", "fd00::2"),
            ("::1:8080", "::1:8080"),
            ("web-8080", "web-8080"),
        ] {
            let read = read(text).expect(text);
            assert!(
                matches!(&read, What::Target(it) if it.to_string() == target),
                "{text}: {read:?}"
            );
        }
        for text in [
            "8080",
            "8080-8090",
            "8080/tcp",
            "[::1]:8080",
            "0.0.0.0:8080",
        ] {
            let read = read(text).expect(text);
            assert!(matches!(&read, What::Port(_)), "{text}: {read:?}");
        }
        read("8080:80").expect_err("it is a spec");
    }
}
