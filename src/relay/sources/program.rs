//! A program of the operator's: its exit code, and what it prints. There is no shell, its environment is what
//! the configuration says, and nothing of an envelope ever goes in.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::relay::envelope::Value;
use crate::relay::sources::sight::{Fields, cut};

/// What is read of its output; an envelope holds less.
const OUTPUT_MAX: u64 = 64 * 1024;

/// Where programs look for others, if nothing else is said.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs it. An error: it could not be started, or it took too long.
pub async fn run(
    argv: &[String],
    env: &[(String, Option<SecretString>)],
    timeout: Duration,
) -> Result<Fields, String> {
    let (program, arguments) = argv.split_first().ok_or("there is no program")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).current_dir("/");
    for (name, value) in env {
        command.env(name, value.as_ref().map_or("", |value| value.expose_secret()));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut output = Vec::new();
    let stdout = child.stdout.take();
    let work = async {
        if let Some(stdout) = stdout {
            let mut limited = stdout.take(OUTPUT_MAX);
            limited.read_to_end(&mut output).await?;
            // What it has to say beyond that is not wanted, and must not stop it.
            tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await?;
        }
        child.wait().await
    };
    let status = match tokio::time::timeout(timeout, work).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(format!("{program}: {error}")),
        Err(_) => {
            // With all that it started.
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            return Err(format!("{program} took longer than {} s", timeout.as_secs()));
        }
    };
    let fields = Fields::default().text("program", program);
    let fields = match status.code() {
        Some(code) => fields.number("exit", code.into()),
        None => fields.text("exit", "killed"),
    };
    Ok(printed(fields, &String::from_utf8_lossy(&output)))
}

/// The fields of a JSON object; what is no such thing is one text.
fn printed(mut fields: Fields, output: &str) -> Fields {
    let output = output.trim();
    let Ok(Json::Object(object)) = serde_json::from_str(output) else {
        return if output.is_empty() { fields } else { fields.text("output", output) };
    };
    for (name, value) in object {
        let value = match value {
            Json::Bool(switch) => Value::Bool(switch),
            Json::Number(number) => number.as_f64().map_or(Value::Text(number.to_string()), Value::Number),
            Json::String(text) => Value::Text(cut(&text).to_owned()),
            // Fields are flat.
            _ => continue,
        };
        if !matches!(name.as_str(), "program" | "exit") {
            fields.put(&name, value);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    async fn sh(
        script: &str,
        env: &[(String, Option<SecretString>)],
        timeout: Duration,
    ) -> Result<Fields, String> {
        run(&["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()], env, timeout).await
    }

    #[tokio::test]
    async fn a_program_says_how_it_went() {
        let fields = sh(
            "echo '{\"free\": 5, \"name\": \"x\", \"deep\": {}, \"Bad\": 1, \"exit\": 0}'; exit 3",
            &[],
            LONG,
        )
        .await
        .unwrap();
        let names: Vec<_> = fields.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["exit", "free", "name", "program"]);
        assert_eq!((&fields.0["exit"], &fields.0["free"]), (&Value::Number(3.0), &Value::Number(5.0)));
        assert_eq!(sh("echo hello", &[], LONG).await.unwrap().0["output"], Value::Text("hello".into()));
        assert!(run(&["/nowhere".to_owned()], &[], LONG).await.unwrap_err().starts_with("/nowhere: "));
    }

    #[tokio::test]
    async fn its_environment_is_what_it_was_given() {
        let env = [("WHO".to_owned(), Some(SecretString::from("ann".to_owned())))];
        let fields =
            sh("echo $WHO; env | cut -d= -f1 | grep -v -E '^(PATH|PWD|SHLVL|_|WHO|OLDPWD)$'", &env, LONG)
                .await
                .unwrap();
        assert_eq!(fields.0["output"], Value::Text("ann".into()));
    }

    #[tokio::test]
    async fn much_output_and_much_patience_are_limited() {
        let much = sh("yes | head -c 1000000", &[], LONG).await.unwrap();
        assert_eq!(much.0["exit"], Value::Number(0.0));
        let slow = sh("cat /dev/zero | tail -c 1", &[], Duration::from_millis(100)).await;
        assert!(slow.unwrap_err().contains("took longer than"));
    }
}
