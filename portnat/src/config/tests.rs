use proptest::prelude::*;

use super::*;

const PATH: &str = "portnat.toml";

fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
    ConfigFile::parse(Path::new(PATH), text)
}

#[test]
fn nothing_is_a_config() {
    let config = parse("").expect("nothing is wrong about it");
    assert!(config.publish.is_empty() && config.max_flows.is_none());
}

/// The examples of the documentation.
#[test]
fn what_is_documented_is_so() {
    let text = include_str!("../../../docs/config.md");
    let mut examples = text.split("```toml\n").skip(1);
    let mut next = || {
        let example = examples.next()?.split("```").next()?;
        Some(parse(example).expect("an example"))
    };
    let config = next().expect("the whole");
    assert_eq!(config.publish.len(), 3);
    assert!(config.uplinks[1].contains("wg0") && config.bridges[1].contains("br-1"));
    assert_eq!((config.masquerade.len(), config.timeouts.len()), (3, 2));
    assert!(config.masquerade[2].to.is_some() && config.bypass.len() == 2);
    let rules = (config.allow.len(), config.deny.len(), config.limit.len());
    assert_eq!((rules, config.networks.len()), ((2, 1, 1), 1));
    assert!(config.allow[0].port.is_none() && config.allow[1].port.is_some());
    assert_eq!(config.fast_path, Some(FastPath::Auto));
    assert_eq!(config.udp_mapping, Some(UdpMapping::EndpointIndependent));
    assert_eq!(config.mark.map(|mark| mark.mask), Some(0xff00));
    assert_eq!(config.max_flows, Some(262_144));
    assert_eq!(config.max_half_open, Some(32_768));
    assert_eq!(config.max_flows_per_container, Some(65_536));
    assert_eq!(next().expect("tables").publish.len(), 3);
    assert!(next().is_none());
}

#[test]
fn what_is_wrong_is_named_by_line_and_field() {
    for (text, words) in [
        ("publish = [", "1: unclosed array"),
        (
            "\ncolour = 1",
            "2: colour: unknown field `colour`, expected one of `publish`",
        ),
        (
            "publish = 80",
            "1: publish: invalid type: integer `80`, expected a sequence",
        ),
        ("publish = [\n\"80@x\"]", "2: publish[0]: invalid target: x"),
        (
            "publish = [80]",
            "1: publish[0]: invalid type: integer `80`, expected a spec such as",
        ),
        (
            "[[publish]]\nports = ['80']",
            "1: publish[0]: missing field `target`",
        ),
        (
            "[[publish]]\ntarget = 'web'\nports = ['80']",
            "3: publish[0].ports[0]: invalid target: web",
        ),
        (
            "[[publish]]\ntarget = '172.17.0'\nports = ['80']",
            "2: publish[0].target: invalid target: 172.17.0",
        ),
        (
            "[[publish]]\ntarget = '172.17.0.2'\nports = [\n'80',\n'x:80']",
            "5: publish[0].ports[1]: invalid hostPort: x",
        ),
        (
            "[[publish]]\ntarget = '172.17.0.2'\nports = ['80@172.17.0.3']",
            "3: publish[0].ports[0]: 80@172.17.0.3: the target is said once",
        ),
        (
            "[[publish]]\ntarget = '172.17.0.2'\nports = [80]",
            "3: publish[0].ports[0]: invalid type: integer `80`, expected a string",
        ),
        (
            "[[publish]]\ntarget = '172.17.0.2'\nports = []\ncolour = 1",
            "4: publish[0].colour: unknown field `colour`, expected `target` or `ports`",
        ),
        (
            "publish = ['1:1@172.17.0.2',\n'192.0.2.1:1:1@172.17.0.3']",
            "2: publish[1]: 192.0.2.1:1:1/tcp@172.17.0.3 and 1:1/tcp@172.17.0.2 publish the same port",
        ),
        (
            "uplinks = [1]",
            "1: uplinks[0]: invalid type: integer `1`, expected a string",
        ),
        (
            "uplinks = ['a']\nbridges = ['b-*',\n'a']",
            "3: bridges[1]: a is named as an uplink too",
        ),
        (
            "masquerade = ['172.17.0.0/33']",
            "1: masquerade[0]: \"172.17.0.0/33\": invalid",
        ),
        (
            "masquerade = ['172.17.0.0/16,to=::1']",
            "1: masquerade[0]: \"172.17.0.0/16,to=::1\": 172.17.0.0/16 and ::1 are not of one family",
        ),
        (
            "bypass = ['10.0.0.0/8', '10.0.0.0/x']",
            "1: bypass[1]: \"10.0.0.0/x\"",
        ),
        (
            "fast-path = 'on'",
            "1: fast-path: \"on\" is none of auto, always, off",
        ),
        (
            "fast_path = 'off'",
            "1: fast_path: unknown field `fast_path`",
        ),
        (
            "udp-mapping = ''",
            "1: udp-mapping: \"\" is none of endpoint-independent, address-",
        ),
        ("mark = '1/0'", "1: mark: \"1/0\" marks nothing"),
        (
            "mark = 1",
            "1: mark: invalid type: integer `1`, expected a string",
        ),
        (
            "[timeouts]\nicmp = 0",
            "2: timeouts.icmp: \"0\" is not a number of seconds",
        ),
        (
            "[timeouts]\nicmp = '1m'",
            "2: timeouts.icmp: invalid type: string",
        ),
        (
            "[timeouts]\ntcp = 1",
            "2: timeouts.tcp: there is no state \"tcp\"",
        ),
        (
            "max-flows = 0",
            "1: max-flows: 0 is not a number from 1 to 16777216",
        ),
        (
            "max-flows = -1",
            "1: max-flows: invalid value: integer `-1`, expected u32",
        ),
        (
            "max-half-open = 63",
            "1: max-half-open: 63 is not a number from 64 to",
        ),
        (
            "max-flows-per-container = 16777217",
            "1: max-flows-per-container: 16777217 is not",
        ),
        ("max-flows = 1\n\nmax-flows = 2", "3: duplicate key"),
    ] {
        let read = parse(text).and_then(|file| file.refuse_names());
        let error = read.expect_err(text).to_string();
        let expected = format!("{PATH}:{words}");
        assert!(error.starts_with(&expected), "{text}\n{error}\n{expected}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there() {
    let error = ConfigFile::read(Path::new("/no/such/file")).expect_err("is not there");
    assert_eq!(
        error.to_string(),
        "reading /no/such/file: no such file or directory"
    );
}

#[test]
fn tables_keep_their_size() {
    let running = LoadOptions {
        xdp: crate::datapath::XdpMode::Off,
        max_flows: 4096,
        max_half_open: 512,
        max_flows_per_container: 1024,
        udp_mapping: UdpMapping::default(),
        mark: None,
        attach: Default::default(),
        trace: false,
    };
    let config = parse("\nmax-flows = 8192").expect("sense");
    config.check_fixed(&running, &running).expect("is the same");
    let wanted = LoadOptions {
        max_flows: 8192,
        ..running
    };
    let error = config.check_fixed(&wanted, &running).expect_err("another");
    assert_eq!(
        error.to_string(),
        "portnat.toml:2: max-flows: it would be 8192, and is 4096 as long as portnat runs: restart it"
    );
    // Where the file has ceased to name it.
    let error = parse("").expect("sense").check_fixed(&wanted, &running);
    let error = error.expect_err("another").to_string();
    assert!(error.starts_with("portnat.toml: max-flows: "), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_a_config_or_refused(text in any::<String>()) {
        let _ = parse(&text);
    }

    /// Such as looks like one.
    #[test]
    fn any_words_are_a_config_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "publish", "[[publish]]", "target", "ports", "uplinks", "[timeouts]", "icmp",
                "max-flows", "mark", "=", "[", "]", "{", "}", ",", "\n", "\"", "'", "\"80\"",
                "'172.17.0.2'", "'80:80@172.17.0.2'", "1", "-1", "1e9", "é", "\u{feff}", "#",
            ]),
            0..24,
        )
    ) {
        if let Err(error) = parse(&words.concat()) {
            let text = error.to_string();
            prop_assert!(text.starts_with(PATH) && !text.contains('\n'), "{}", text);
        }
    }
}
