//! The subcommands that need no Discord, as they are typed.

use super::*;

const TREE: &str = "army: 1\nname: small\nabout: A <small> tree\nparams: { n: 2 }\nroles: { host: 1 }\nroot:\n  sequence:\n    - repeat_n: { n: \"{{n}}\", do: { log: \"a \\\"b\\\"\" } }\n    - by_role: { host: { wait: 1s..2s } }\n    - random_weighted: [ { weight: 3, do: succeed }, { weight: 1, do: fail } ]\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.yaml"), TREE).unwrap();
    fs::write(
        folder.path().join("wrong.yaml"),
        "army: 1\nname: wrong\nroot:\n  memory.remembr: { key: a }\n",
    )
    .unwrap();
    folder
}

fn tree(folder: &tempfile::TempDir, name: &str) -> Tree {
    Tree { tree: name.into(), trees: folder.path().into(), custom: None }
}

#[test]
fn check_tells_file_line_and_nearest_name() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let told = start(&Act::Check { files: vec![path("small.yaml"), path("wrong.yaml"), path("none.yaml")] });
    assert_eq!(told.code, UNUSABLE);
    assert!(told.out.ends_with("small.yaml: ok\n"), "{told:?}");
    let wanted =
        "wrong.yaml: line 4, column 3: unknown action memory.remembr; did you mean memory.remember?\n";
    assert!(told.err.contains(wanted) && told.err.contains("none.yaml"), "{told:?}");
}

#[test]
fn a_tree_is_shown_in_three_ways() {
    let folder = folder();
    let show = |format| start(&Act::Show { tree: tree(&folder, "small"), format }).out;
    assert_eq!(
        show(Format::Text),
        "small  A <small> tree\n  sequence\n    repeat_n  n: {{n}}\n      log  a \"b\"\n    by_role\n      host: wait  \
         1s..2s\n    random_weighted\n      succeed\n      fail\n"
    );
    assert!(show(Format::Mermaid).contains("n2([\"log  a #quot;b#quot;\"])"), "{}", show(Format::Mermaid));
    assert!(show(Format::Mermaid).contains("n5 -- 3 --> n6"));
    assert!(show(Format::Svg).contains("log  a &quot;b&quot;</text>"));
    let told = start(&Act::Show { tree: tree(&folder, "smal"), format: Format::Text });
    assert!(told.code == UNUSABLE && told.err.contains("did you mean small?"), "{told:?}");
}

#[test]
fn what_a_tree_is_given_is_compared() {
    let folder = folder();
    let with = |custom: &str| {
        let tree = Tree { custom: Some(custom.into()), ..tree(&folder, "small") };
        start(&Act::Show { tree, format: Format::Text })
    };
    assert_eq!(with("[n: 5]").code, 0);
    assert!(with("n=five").err.contains("`n`: `five` is a text; it takes: integer"));
    assert!(with("n=5 m=6").err.contains("warning: --custom: nothing reads `m`"), "{:?}", with("n=5 m=6"));
}

#[test]
fn lists_are_for_people_and_programs() {
    let folder = folder();
    let list =
        |what, json| start(&Act::List { what, json, behavior3: None, trees: folder.path().into() }).out;
    assert!(list(Listable::Trees, false).starts_with("small                  A <small> tree\nwrong "));
    assert!(list(Listable::Actions, false).contains("memory.recall { key: text, door: prefix or mention"));
    let actions: serde_json::Value = serde_json::from_str(&list(Listable::Actions, true)).unwrap();
    assert!(actions["actions"].as_array().unwrap().len() > 40);
    let trees: serde_json::Value = serde_json::from_str(&list(Listable::Trees, true)).unwrap();
    assert_eq!(trees[0]["params"][0], serde_json::json!(["n", 2]));
}

#[test]
fn a_report_is_written() {
    let folder = folder();
    let (run, html) = (folder.path().join("run.json"), folder.path().join("out.html"));
    fs::write(&run, serde_json::to_string(&Document::default()).unwrap()).unwrap();
    let told = start(&Act::Report { run: run.clone(), html: html.clone(), baseline: Some(run) });
    assert_eq!((told.code, &told.err[..]), (0, ""));
    assert!(fs::read_to_string(html).unwrap().starts_with("<!doctype html>"));
}
