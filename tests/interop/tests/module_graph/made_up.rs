//! The test of the test: small made-up crates, with a circle and without.

use std::path::Path;

use crate::graph::{Circle, circles};
use crate::source::Crate;

/// The circles of a crate of these files.
fn found(files: &[(&str, &str)]) -> Vec<Circle> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join("src").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let read = Crate::read(folder.path(), &folder.path().join(Path::new("src")));
    circles("made_up", &read)
}

const ROOT: (&str, &str) = ("lib.rs", "mod a;\nmod b;\nmod c;\n");

/// The circle of `a` and `b`, where `b` uses `a` by the last line of its file.
fn assert_circle(a: &str, b: &str) {
    let files = [ROOT, ("a.rs", a), ("b.rs", b), ("c.rs", "pub struct C;")];
    let found = found(&files);
    let names: Vec<&str> = found.iter().map(|circle| circle.name.as_str()).collect();
    assert_eq!(names, ["made_up: {a, b}"], "{b}");
    let last = format!("  b -> a  src/b.rs:{}  ", b.lines().count());
    assert!(found[0].uses.contains(&last), "{}", found[0].uses);
    assert!(
        found[0].uses.contains("  a -> b  src/a.rs:1  "),
        "{}",
        found[0].uses
    );
}

#[test]
fn two_modules_that_use_each_other_are_a_circle_whichever_way_they_say_it() {
    for b in [
        "use crate::a::A;",
        "use super::a;",
        "use crate::{c::C,\n a::A};",
        "pub struct B;\nuse crate::a::*;",
        "fn b() -> crate::a::A { todo!() }",
        "fn b() {\n super::a::f();\n}\nfn c() { let _ = super::a::A; }",
        "fn b() { println!(\"{:?}\", crate::a::A); }",
        "macro_rules! b { () => { $crate::a::A }; }",
        "#[derive(Debug)]\nstruct B {\n #[serde(with = \"crate::a\")] b: u8 }",
        "#[cfg(test)]\nmod tests {}\nuse crate::a::A;",
        "#[cfg(not(test))]\nuse crate::a::A;",
    ] {
        assert_circle(
            "use crate::b::B;\npub struct A;",
            &format!("pub struct X;\n{b}"),
        );
    }
}

#[test]
fn a_circle_through_what_another_module_hands_on_is_one() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("a.rs", "pub use crate::b::B;"),
        ("b.rs", "use crate::c::f;\npub struct B;"),
        ("c.rs", "use crate::a::B;\npub fn f() {}"),
    ];
    let [circle] = &found(&files)[..] else {
        panic!("it was not found")
    };
    assert_eq!(circle.name, "made_up: {a, b, c}");
    assert!(circle.uses.contains("  c -> b  src/c.rs:1  crate::a::B\n"));
}

#[test]
fn a_circle_below_the_top_is_found_and_named_by_its_level() {
    let files = [
        ("lib.rs", "pub mod top;\n"),
        (
            "top/mod.rs",
            "mod deep {\n mod one { use super::two::T; }\n mod two { pub use crate::top::deep::one; }\n}",
        ),
    ];
    let [circle] = &found(&files)[..] else {
        panic!("it was not found")
    };
    assert_eq!(circle.name, "made_up::top::deep: {one, two}");
    assert!(circle.uses.contains("src/top/mod.rs:2"), "{}", circle.uses);
    assert!(circle.uses.contains("src/top/mod.rs:3"), "{}", circle.uses);
}

#[test]
fn no_circle_is_seen_where_none_is() {
    for b in [
        "// use crate::a::A;\n/* crate::a::A */",
        "const B: &str = \"crate::a::A\";",
        "#[cfg(test)]\nmod tests { use crate::a::A; }",
        "#[cfg(test)]\nimpl B { fn b() { crate::a::f(); } }",
        "impl B {\n #[cfg(test)]\n fn b() { crate::a::f(); } }",
        "use crate::c::C;",
        "use a::A; // of another crate\nuse ::a::B;",
        "pub(in crate::a) struct B;",
    ] {
        let a = "use crate::b::B;\nuse super::Root;\npub struct A;";
        let files = [
            (
                "lib.rs",
                "mod a;\nmod b;\nmod c;\npub use a::A;\npub struct Root;",
            ),
            ("a.rs", a),
            ("b.rs", b),
            ("c.rs", "pub struct C;"),
        ];
        assert_eq!(found(&files), [], "{b}");
    }
}
