//! Trees of the army as people write them: what is unknown, missing or imported; and the examples.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mneme::army::cli::{Act, UNUSABLE, start};
use mneme::army::spec::template::Template;
use mneme::army::spec::{Given, Program, Scope, Unfit, compile, read};
use mneme::army::{Registry, custom, import};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::{Value, json};

fn program(text: &str, given: &Given) -> Result<(Program, String), String> {
    let registry = Registry::new();
    let file = read(text, Path::new("."), &registry).map_err(|faults| faults.to_string())?;
    let root = file.root.clone().expect("these trees have a root");
    let compiled = compile(&file, &root, &registry, given).map_err(|faults| faults.to_string())?;
    Ok((compiled.0, compiled.1.to_string()))
}

fn given(text: &str) -> Given {
    Given::complete(custom::parse(text).unwrap())
}

/// One soldier's values, drawing from its own seed.
struct Soldier {
    values: Value,
    rng: StdRng,
}

fn soldier(seed: u64, values: Value) -> Soldier {
    Soldier { values, rng: StdRng::seed_from_u64(seed) }
}

impl Scope for Soldier {
    fn value(&self, path: &[String]) -> Option<Value> {
        self.values.pointer(&format!("/{}", path.join("/"))).cloned()
    }

    fn list(&self, _: &str) -> Option<&[Value]> {
        None
    }

    fn rng(&mut self) -> &mut dyn RngCore {
        &mut self.rng
    }

    fn now(&self) -> i64 {
        0
    }
}

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/army");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn nothing_unknown_is_ignored() {
    for (text, told) in [
        ("root: { memory.recal: { key: a } }", "did you mean memory.recall?"),
        ("root: { memory.recall: { key: a, dor: slash } }", "has no parameter dor; did you mean door?"),
        (
            "root: { retry: { times: 2, back_off: 1s, do: fail } }",
            "has no parameter back_off; did you mean backoff?",
        ),
        ("root: succeed\nthreshold: []", "did you mean thresholds?"),
        ("root: succeed\nthresholds: [ \"errors.rates<1%\" ]", "did you mean errors.rate?"),
        ("root: succeed\nevents: { message_create: { frm: bot } }", "did you mean from?"),
        ("root: { log: \"{{config.x}} {{runs.id}}\" }", "nothing gives `runs` a value"),
    ] {
        let error = program(&format!("army: 1\nname: t\n{text}"), &Given::default()).unwrap_err();
        assert!(error.contains(told), "{text}: {error}");
    }
    let tree =
        "army: 1\nname: t\nparams: { num_albums: 1 }\nroot: { log: \"{{config.app_id}} {{num_albums}}\" }";
    let error = program(tree, &given("[run_id: 5]")).unwrap_err();
    assert!(error.contains("the tree reads `app_id`, you gave `run_id`"), "{error}");
    let (_, odd) = program(tree, &given("app_id=5 num_album=2")).unwrap();
    assert!(odd.contains("nothing reads `num_album`; did you mean num_albums?"), "{odd}");
    let mneme =
        Command::new(env!("CARGO_BIN_EXE_mneme")).args(["army", "check", "--colour", "x.yaml"]).output();
    assert_eq!(mneme.unwrap().status.code(), Some(UNUSABLE));
}

#[test]
fn missing_is_not_empty() {
    let mut soldier = soldier(1, json!({"off": false, "zero": 0, "nothing": null}));
    let mut evaluate = |text: &str| Template::parse(&json!(text)).unwrap().evaluate(&mut soldier);
    for text in ["{{name}}", "hello {{name}}", "{{nothing}}"] {
        assert!(matches!(evaluate(text), Err(Unfit::Missing(_))), "{text}");
    }
    assert_eq!(evaluate("{{off | true}}"), Ok(json!(false)));
    assert_eq!(evaluate("{{zero | 7}}"), Ok(json!(0)));
    assert_eq!(evaluate("{{name | false}}"), Ok(json!(false)));
    assert_eq!(evaluate("{{nothing | x}}"), Ok(json!("x")));
}

#[test]
fn import_keeps_types() {
    let project = json!({ "trees": [{ "id": "t", "title": "Root", "root": "a", "properties": { "rate": 0.5, "loud": false },
        "nodes": {
            "a": { "name": "sequence", "children": ["b", "c"] },
            "b": { "name": "runner", "title": "Basic.set(a: {{rate}}, b: {{loud}}, c: 1.5, d: false, e: \"a (b) c\") x" },
            "c": { "name": "log", "title": "log(\"rate (of {{rate}})\")" } } }] });
    let imported = import::import(&project.to_string(), None, &Registry::new()).unwrap();
    assert!(imported.unmapped.is_empty(), "{imported:?}");
    let (program, _) = program(&imported.yaml, &Given::default()).unwrap();
    let mut soldier = soldier(1, Value::Object(program.params.clone()));
    let mut args = |path: &str| {
        let part = program.parts().find(|(_, part)| part.path == path).unwrap().1;
        part.args.evaluate(&mut soldier).unwrap()
    };
    let expected = json!({"a": 0.5, "b": false, "c": 1.5, "d": false, "e": "a (b) c"});
    assert_eq!(Value::Object(args("root/0").values().clone()), expected);
    assert_eq!(args("root/1").text("text"), "rate (of 0.5)");
}

#[test]
fn random_is_per_visit() {
    let tree = "army: 1\nname: t\nroot: { log: \"{{rand 0 1000000000}}\" }";
    let (program, _) = program(tree, &Given::default()).unwrap();
    let visits = |seed: u64| {
        let mut soldier = soldier(seed, json!({}));
        let mut visit = || program.part(0).args.evaluate(&mut soldier).unwrap().text("text").to_owned();
        [visit(), visit(), visit()]
    };
    let (one, other) = (visits(1), visits(2));
    assert!(one[0] != one[1] && one[1] != one[2], "{one:?}");
    assert_ne!(one, other);
    assert_eq!(one, visits(1), "the seed repeats it");
}

#[test]
fn every_example_passes_check_and_says_how_to_run_it() {
    let files = examples();
    let told = start(&Act::Check { files: files.clone() });
    assert_eq!((told.code, &told.err[..]), (0, ""));
    for path in &files {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let file =
            read(&fs::read_to_string(path).unwrap(), path.parent().unwrap(), &Registry::new()).unwrap();
        let example = file.example.unwrap_or_else(|| panic!("{stem} has no example"));
        assert_eq!(file.name, stem);
        assert!(example.command.starts_with("mneme army ") && example.command.contains(stem), "{example:?}");
    }
}

#[test]
fn the_guide_names_every_example() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/army.md")).unwrap();
    for path in examples() {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(guide.contains(&format!("`{stem}`")), "docs/army.md does not name {stem}");
    }
}
