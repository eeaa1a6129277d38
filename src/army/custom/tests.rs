//! What `--custom` takes, from tables and from seeds.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::*;

const SEEDS: u64 = 500;

#[test]
fn every_way_of_writing_it_gives_the_same() {
    let expected = json!({"run_id": "abc", "num_albums": 20, "fast": false});
    for text in [
        r#"{"run_id": "abc", "num_albums": 20, "fast": false}"#,
        "{run_id: abc, num_albums: 20, fast: false}",
        "run_id: abc\nnum_albums: 20\nfast: false",
        "run_id=abc num_albums=20 fast=false",
        "run_id=\"abc\", num_albums=20, fast=false",
        r#"[run_id: "abc", num_albums: 20, fast: false]"#,
        r#"%{run_id: "abc", num_albums: 2_0, fast: false}"#,
        r#"%{"run_id" => "abc", :num_albums => 20, "fast" => false}"#,
        r#"[{:run_id, "abc"}, {:num_albums, 20}, {:fast, false}]"#,
        r#"[run_id: 'abc', "num_albums": 20, fast: false,]"#,
    ] {
        assert_eq!(parse(text).map(Value::Object), Ok(expected.clone()), "{text}");
    }
    assert_eq!(parse("").unwrap(), Map::new());
    assert_eq!(parse("[]").unwrap(), Map::new());
}

#[test]
fn literals_of_elixir_keep_their_types() {
    let text = r#"[a: nil, b: -1.5e3, c: 0x1F, d: {:ok, 1}, e: [1, :two, "three"], f: %{g: [h: true]}, i: "\u00e9\n\"",
        j: Foo.Bar, k: [], l: :"odd atom", m: 1_000, n: [1, o: 2], p?: true]"#;
    let expected = json!({"a": null, "b": -1500.0, "c": 31, "d": ["ok", 1], "e": [1, "two", "three"],
        "f": {"g": {"h": true}}, "i": "é\n\"", "j": "Foo.Bar", "k": [], "l": "odd atom", "m": 1000,
        "n": [1, ["o", 2]], "p?": true});
    assert_eq!(parse(text).map(Value::Object), Ok(expected));
}

#[test]
fn what_is_wrong_is_told() {
    for (text, told) in [
        ("[a: 1, a: 2]", "`a` is given twice"),
        ("a=1 a=2", "`a` is given twice"),
        ("{a: 1, a: 2}", "`a` is given twice"),
        ("[a: System.halt(1)]", "character 16"),
        ("[a: foo()]", "code is not run"),
        (r##"[a: "x #{y}"]"##, "code in a text is not run"),
        ("[1, 2]", "names and values"),
        ("[a: 1", "comma"),
        ("%{a 1}", "expected"),
        ("just text", "names and values"),
        ("@secrets", "a file cannot be named here"),
        ("a=\"x", "quote is not closed"),
        ("[a: 1__]", "a number"),
        ("{\"a\": &x 1}", "anchors"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(told), "{text}: {error}");
    }
    assert!(parse(&format!("[a: {}", "[".repeat(10_000))).unwrap_err().contains("deeper"));
    assert!(read("@/nowhere/at/all").unwrap_err().contains("/nowhere/at/all"));
}

/// Any value of JSON, whose texts are hard to write.
fn random_value(rng: &mut StdRng, depth: u32) -> Value {
    match rng.random_range(0..if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => Value::Bool(rng.random()),
        2 => Value::from(rng.random::<i32>()),
        3 => Value::from(f64::from(rng.random_range(-9_999..9_999)) / 8.0 + 0.01),
        4 => Value::String(random_text(rng)),
        5 => Value::Array((0..rng.random_range(0..4)).map(|_| random_value(rng, depth - 1)).collect()),
        _ => Value::Object(random_map(rng, depth - 1)),
    }
}

fn random_map(rng: &mut StdRng, depth: u32) -> Map<String, Value> {
    // Never empty: in Elixir an empty keyword list is an empty list.
    (0..rng.random_range(1..4))
        .map(|n| (format!("{}{n}", random_text(rng)), random_value(rng, depth)))
        .collect()
}

fn random_text(rng: &mut StdRng) -> String {
    const HARD: [&str; 14] = ["a", "Z", "é", "\"", "\\", "'", "{", "}", ":", " ", "\n", "=>", "😀", "nil"];
    (0..rng.random_range(0..6)).map(|_| HARD[rng.random_range(0..HARD.len())]).collect()
}

fn as_elixir(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::String(text) => format!("{:?}", text).replace("#{", "\\#{"),
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(as_elixir).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                format!("{} => {}", as_elixir(&Value::from(name.clone())), as_elixir(value))
            });
            format!("%{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let value = Value::Object(random_map(&mut rng, 3));
        let (json, elixir) = (value.to_string(), as_elixir(&value));
        assert_eq!(parse(&json).map(Value::Object).as_ref(), Ok(&value), "seed {seed}: {json}");
        assert_eq!(parse(&elixir).map(Value::Object).as_ref(), Ok(&value), "seed {seed}: {elixir}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    const PARTS: [&str; 22] = [
        "[", "]", "%{", "{", "}", ":", "a", "\"", "'", "=>", "=", ",", " ", "1", "-", ".", "_", "\\u", "é",
        "#{", "e", "0x",
    ];
    for seed in 0..SEEDS * 20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let text: String =
            (0..rng.random_range(0..14)).map(|_| PARTS[rng.random_range(0..PARTS.len())]).collect();
        let _ = parse(&text);
    }
}
