//! A question of systemd's that is read means the same when it is written again, whatever else its file
//! says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_boot::password_agent::question::{Question, parse};

fuzz_target!(|text: &str| {
    if let Ok(question) = parse(text) {
        assert!(question.socket.is_absolute());
        assert_eq!(parse(&written(&question)), Ok(question));
    }
});

fn written(question: &Question) -> String {
    let mut text = format!("[Ask]\nSocket={}\n", question.socket.display());
    if let Some(pid) = question.pid {
        text.push_str(&format!("PID={pid}\n"));
    }
    if let Some(due) = question.not_after {
        text.push_str(&format!("NotAfter={due}\n"));
    }
    text.push_str(&format!("Id={}\n", question.id));
    if question.for_pin {
        text.push_str("Message=PIN\n");
    }
    text
}
