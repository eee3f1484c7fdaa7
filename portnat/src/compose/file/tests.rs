use super::*;

fn variables(name: &str) -> Option<String> {
    (name == "WEB").then(|| "8080".to_owned())
}

/// What is published, as `SERVICE LINE MAPPING`.
fn ports(outcome: &Outcome) -> Vec<String> {
    let line = |port: &Declared| format!("{} {} {}", port.service, port.line, port.mapping);
    outcome.ports.iter().map(line).collect()
}

fn told(complaints: &[Complaint]) -> Vec<String> {
    complaints.iter().map(ToString::to_string).collect()
}

#[test]
fn both_forms_of_the_specification() {
    let outcome = read(
        r#"
x-ports: &more
  ports: ["53:53/udp"]
services:
  web:
    image: web
    ports:
      - "3000"
      - 3001-3005
      - "8000:8000"
      - "9090-9091:8080-8081"
      - "49100:22"
      - 127.0.0.1:8001:8001
      - "127.0.0.1:5000-5010:5000-5010"
      - "[::1]:6000:6000"
      - "6060:6060/udp"
      - "${WEB}:80"
      - 7000
  api:
    ports:
      - name: http
        target: 80
        host_ip: 127.0.0.1
        published: "8081"
        protocol: tcp
        app_protocol: http2
        mode: host
        x-own: anything
      - target: 443
      - {target: 80, published: 8100-8110}
      - {target: 81, host_ip: "::1", published: 8120}
  dns:
    <<: *more
  none:
  batch: {image: batch, ports: }
"#,
        &variables,
    );
    assert_eq!(told(&outcome.complaints), [] as [&str; 0]);
    assert_eq!(
        ports(&outcome),
        [
            "web 8 3000/tcp",
            "web 9 3001-3005/tcp",
            "web 10 8000:8000/tcp",
            "web 11 9090-9091:8080-8081/tcp",
            "web 12 49100:22/tcp",
            "web 13 127.0.0.1:8001:8001/tcp",
            "web 14 127.0.0.1:5000-5010:5000-5010/tcp",
            "web 15 [::1]:6000:6000/tcp",
            "web 16 6060:6060/udp",
            "web 17 8080:80/tcp",
            "web 18 7000/tcp",
            "api 21 127.0.0.1:8081:80/tcp",
            "api 29 443/tcp",
            "api 30 8100-8110:80/tcp",
            "api 31 [::1]:8120:81/tcp",
            "dns 3 53:53/udp",
        ]
    );
    let named = &outcome.ports[11];
    assert_eq!(named.name.as_deref(), Some("http"));
    assert_eq!(named.app_protocol.as_deref(), Some("http2"));
    assert_eq!(outcome.ports[0].hosts(), ["0.0.0.0:(free)", "[::]:(free)"]);
    assert_eq!(outcome.ports[13].hosts()[0], "0.0.0.0:(one of 8100-8110)");
    assert_eq!(outcome.ports[14].hosts(), ["[::1]:8120"]);
}

#[test]
fn each_mistake_is_told_with_its_line() {
    let outcome = read(
        r#"include: [other.yaml]
services:
  web:
    extends: {service: base}
    ports:
      - "80x:80"
      - "8080:80/icmp"
      - "localhost:80:80"
      - "${NONE:?say one}:80"
      - {published: 80}
      - target: 80
        publish: 80
      - {target: 80, mode: swarm}
      - {target: 80, published: 99999}
      - [80]
      - "8000-8001:80-82"
  alone:
    network_mode: host
    ports: ["80:80"]
  list: [80]
  word:
    ports: 80
"#,
        &variables,
    );
    assert_eq!(ports(&outcome), [] as [&str; 0]);
    assert_eq!(
        told(&outcome.left_out),
        [
            "1: include: is not followed",
            "4: services.web.extends: is not followed"
        ]
    );
    let at = "services.web.ports";
    assert_eq!(
        told(&outcome.complaints),
        [
            format!("6: {at}[0]: invalid hostPort: 80x: invalid port '80x': invalid syntax"),
            format!("7: {at}[1]: invalid proto: icmp"),
            format!("8: {at}[2]: invalid IP address: localhost"),
            format!("9: {at}[3]: variable NONE is not set: say one"),
            format!("10: {at}[4]: target is missing"),
            format!("12: {at}[5].publish: there is no such field"),
            format!("13: {at}[6].mode: swarm: there are host and ingress"),
            format!(
                "14: {at}[7]: invalid hostPort: 99999: invalid port '99999': value out of range (0-65535)"
            ),
            format!("15: {at}[8]: is neither a word nor a number"),
            format!(
                "16: {at}[9]: invalid ranges specified for container and host Ports: 80-82 and 8000-8001"
            ),
            "19: services.alone.ports: nothing is published with network_mode host".to_owned(),
            "20: services.list: is not a mapping".to_owned(),
            "22: services.word.ports: is not a list".to_owned(),
        ]
    );
}

#[test]
fn what_is_published_twice_is_told() {
    let file = |first: &str, second: &str| {
        format!("services:\n  a:\n    ports: ['{first}']\n  b:\n    ports: ['{second}']\n")
    };
    for (first, second) in [
        ("80:80", "80:8080"),
        ("80:80", "127.0.0.1:80:80"),
        ("0.0.0.0:80:80", "127.0.0.1:80:80"),
        ("8000-8010:8000-8010", "8010:80"),
    ] {
        let outcome = read(&file(first, second), &variables);
        let told = told(&outcome.complaints);
        assert_eq!(told.len(), 1, "{first} {second}");
        assert!(
            told[0].ends_with("is published in line 3 already, by a"),
            "{told:?}"
        );
    }
    for (first, second) in [
        ("80:80", "80:80/udp"),
        ("80", "80"),
        ("127.0.0.1:80:80", "127.0.0.2:80:80"),
        ("0.0.0.0:80:80", "[::]:80:80"),
        ("8000-8010:80", "8010:80"),
    ] {
        let outcome = read(&file(first, second), &variables);
        assert_eq!(
            told(&outcome.complaints),
            [] as [&str; 0],
            "{first} {second}"
        );
    }
}

#[test]
fn what_is_no_compose_file_is_told() {
    for (text, words) in [
        ("", "1: there is nothing in it"),
        ("version: '3'", "1: it has no services"),
        ("services: []", "1: services: is not a mapping"),
    ] {
        assert_eq!(told(&read(text, &variables).complaints), [words]);
    }
    for text in [
        "services: {",
        "services:\n  a: b: c",
        "a: &a [*a]",
        "services: *none",
    ] {
        assert_eq!(read(text, &variables).complaints.len(), 1, "{text}");
    }
}
