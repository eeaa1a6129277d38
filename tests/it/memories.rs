//! What people see when they teach the bot something.

use serde_json::json;

use crate::harness::start;

#[tokio::test]
async fn a_line_is_remembered_and_found_again() {
    let stage = start().await;
    let ann = stage.person("zoo", "cats", "ann");
    let bob = stage.person("zoo", "dogs", "bob");
    let thanks = ann.says(".remember meeting is tomorrow").await;
    assert_eq!(thanks, format!("✅ Ok <@{}>, I'll remember `meeting` for you", ann.id));
    assert_eq!(bob.says(".rem meeting").await, "tomorrow");
    assert_eq!(bob.says(".rem MEETING").await, "tomorrow");
    assert_eq!(bob.slash("rem get", &[("key", json!("meeting"))]).await.text(), "tomorrow");
    assert_eq!(
        bob.says(".rem meeting is never").await,
        "I am already remembering something for `meeting`:\n> tomorrow\n\
         Use `.forget meeting` to forget it, or `.mem edit meeting is …` to change it"
    );
    stage.end().await;
}
