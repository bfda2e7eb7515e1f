use super::*;

#[test]
fn profiles_refer_to_each_other_by_uuid_or_name_in_any_order() {
    let vlan = "[connection]\ntype=vlan\nid=v\n[vlan]\nid=5\nparent=u-1\n";
    let bond =
        "[connection]\ntype=bond\nuuid=u-1\ninterface-name=bond0\n[bond]\nmode=active-backup\n";
    let found = read(&[("a".into(), vlan), ("b".into(), bond)]);
    assert_eq!(found.remarks, []);
    let names: Vec<&str> = found.links.iter().map(|it| it.link.name.as_str()).collect();
    assert_eq!(names, ["bond0.5", "bond0"]);
    assert_eq!(found.attachments[0].who, Selector::named("bond0"));
}

#[test]
fn secrets_are_never_told() {
    let text = "[connection]\nid=x\ntype=ethernet\ninterface-name=e\n[802-1x]\npassword=secret\n[odd]\nkey=secret\n";
    let found = read(&[("f".into(), text)]);
    assert!(!format!("{found:?}").contains("secret"));
    assert_eq!(found.remarks[0].what, "[odd] key: not understood");
}

#[test]
fn a_master_of_another_kind_or_without_a_name_is_told() {
    for (text, told) in [
        (
            "[connection]\ntype=ethernet\ninterface-name=e\nmaster=t\nslave-type=team\n",
            "a member of a link of type team, which is not made at boot",
        ),
        (
            "[connection]\ntype=bond\nid=b\n",
            "b: expected interface-name, and id and parent of a VLAN",
        ),
        (
            "[connection]\ntype=gsm\nid=g\n",
            "g: a link of type gsm is not made at boot",
        ),
    ] {
        let found = read(&[("f".into(), text)]);
        assert_eq!(found.remarks[0].what, told);
        assert_eq!(found.remarks[0].weight, Weight::Matters);
    }
}
