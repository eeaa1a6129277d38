//! Files of the editor, imported and compiled.

use std::path::Path;

use super::*;
use crate::army::spec;
use crate::army::spec::testing::fixed;

/// A project with a tree in a tree, as the editor writes it.
fn project() -> Value {
    json!({ "name": "p", "data": { "trees": [
        { "id": "t1", "title": "Root", "root": "a", "properties": { "rate": 0.25, "loud": false, "who": "ann" }, "nodes": {
            "a": { "id": "a", "name": "sequence", "title": "sequence", "properties": {}, "children": ["b", "c", "d", "e", "f"] },
            "b": { "id": "b", "name": "runner", "title": "BotArmy.Actions.wait(1, 10) a while", "properties": {} },
            "c": { "id": "c", "name": "succeed_rate", "title": "succeed_rate({{rate}})", "properties": {} },
            "d": { "id": "d", "name": "Mneme.Memory.remember(key, value)", "title": "Mneme.Memory.remember(\"a (b) {{who}}\", \"x\", door: :slash)", "properties": {} },
            "e": { "id": "e", "name": "repeat_n", "title": "repeat", "properties": { "n": 3 }, "child": "g" },
            "f": { "id": "f", "name": "set", "title": "Basic.set(loud: {{loud}}, half: 0.5, off: false)", "properties": {} },
            "g": { "id": "g", "name": "t2", "title": "two", "properties": { "key": "k9", "weight": 1 } } } },
        { "id": "t2", "title": "Recall one", "root": "h", "properties": { "key": "k0" }, "nodes": {
            "h": { "id": "h", "name": "random_weighted", "title": "", "properties": {}, "children": ["i", "j"] },
            "i": { "id": "i", "name": "runner", "title": "Memory.recall({{key}})", "properties": { "weight": 3 } },
            "j": { "id": "j", "name": "Wait", "title": "Wait", "properties": { "weight": 1, "milliseconds": 250 } } } },
    ] } })
}

fn imported(project: &Value) -> Imported {
    import(&project.to_string(), None, &Registry::new()).unwrap()
}

#[test]
fn what_is_imported_is_a_tree_file() {
    let imported = imported(&project());
    assert_eq!(imported.unmapped, Vec::<String>::new());
    let registry = Registry::new();
    let file = spec::read(&imported.yaml, Path::new("."), &registry);
    let file = file.unwrap_or_else(|faults| panic!("{faults}\n{}", imported.yaml));
    let root = file.root.clone().unwrap();
    let (program, _) = spec::compile(&file, &root, &registry, &spec::Given::default())
        .unwrap_or_else(|faults| panic!("{faults}\n{}", imported.yaml));
    let paths: Vec<_> = program.parts().map(|(_, part)| format!("{} {}", part.path, part.row())).collect();
    assert!(
        paths.contains(&"root/3/do/recall_one/0 memory.recall".to_owned()),
        "{paths:#?}\n{}",
        imported.yaml
    );
    let args = |path: &str| {
        let found = program.parts().find(|(_, part)| part.path == path).unwrap().1;
        let mut scope = fixed(json!({ "rate": 0.25, "loud": false, "who": "ann", "key": "k9" }));
        found.args.evaluate(&mut scope).unwrap()
    };
    assert!((1.0..=10.0).contains(&args("root/0").duration("for").as_secs_f64()));
    assert_eq!(args("root/1").number("rate"), 0.25);
    assert_eq!((args("root/2").text("key"), args("root/2").text("door")), ("a (b) ann", "slash"));
    assert_eq!(
        *args("root/4").values(),
        json!({"loud": false, "half": 0.5, "off": false}).as_object().unwrap().clone()
    );
    assert_eq!(args("root/3/do/recall_one/0").text("key"), "k9");
}

#[test]
fn what_cannot_be_mapped_is_told_with_its_node() {
    let mut project = project();
    let nodes = &mut project["data"]["trees"][0]["nodes"];
    nodes["b"]["title"] = json!("Sample.dance(1)");
    nodes["c"]["title"] = json!("succeed_rate(rand())");
    nodes["e"]["properties"] = json!({});
    nodes["f"]["name"] = json!("Limiter");
    nodes["f"]["title"] = json!("Limiter");
    let told = imported(&project).unmapped.join("\n");
    for part in
        ["node b: there is no action Sample.dance", "node c:", "node e: it needs a property `n`", "node f:"]
    {
        assert!(told.contains(part), "{part}\n{told}");
    }
}

#[test]
fn trees_are_found_by_title() {
    let text = project()["data"].to_string();
    assert!(is_behavior3(&text) && !is_behavior3("{\"army\": 1}"));
    assert!(import(&text, Some("recall one"), &Registry::new()).unwrap().yaml.contains("name: recall_one"));
    let error = import(&text, Some("Rot"), &Registry::new()).unwrap_err();
    assert!(error.contains("did you mean Root?"), "{error}");
    let mut circle = project();
    circle["data"]["trees"][0]["nodes"]["e"]["child"] = json!("e");
    assert!(imported(&circle).unmapped.join("").contains("below itself"));
}

#[test]
fn the_editor_gets_nodes_to_choose_from() {
    let registry = Registry::new();
    let text = with_custom_nodes(&project().to_string(), &registry).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let nodes = value["data"]["custom_nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), registry.all().count());
    assert_eq!(value["data"]["trees"], project()["data"]["trees"]);
    assert!(nodes.iter().any(|node| node["title"] == "memory.forget(key, door)"));
}
