//! The introspection of the objects of the Mandos interface, as the stock server describes itself: the
//! same interfaces, members, signatures, names of arguments and annotations. A client's object also has our own
//! interface, whose only members are properties.

use std::fmt::Write;

use crate::names::{
    CLIENT, CLIENT_OLD, INTROSPECTABLE, MANDOS, MANDOS_OLD, NIGHTLATCH_CLIENT, OBJECT_MANAGER,
    PROPERTIES,
};
use crate::property::{Emits, Property};

/// The start of every document (D-Bus specification, "Introspection Data Format").
const DOCTYPE: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n\
     \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

const DEPRECATED: &str = "org.freedesktop.DBus.Deprecated";
const EMITS: &str = "org.freedesktop.DBus.Property.EmitsChangedSignal";

/// Type and name of an argument; Mandos has some without a name.
type Argument = (&'static str, &'static str);

/// A method or a signal.
struct InterfaceMember {
    name: &'static str,
    /// The arguments of a method; empty for a signal.
    takes: &'static [Argument],
    /// The return values of a method or the arguments of a signal.
    gives: &'static [Argument],
    is_signal: bool,
    is_deprecated: bool,
}

const fn method(
    name: &'static str,
    takes: &'static [Argument],
    gives: &'static [Argument],
) -> InterfaceMember {
    InterfaceMember {
        name,
        takes,
        gives,
        is_signal: false,
        is_deprecated: false,
    }
}

const fn signal(name: &'static str, gives: &'static [Argument]) -> InterfaceMember {
    InterfaceMember {
        name,
        takes: &[],
        gives,
        is_signal: true,
        is_deprecated: false,
    }
}

const fn deprecated(member: InterfaceMember) -> InterfaceMember {
    InterfaceMember {
        is_deprecated: true,
        ..member
    }
}

const INTROSPECTABLE_MEMBERS: &[InterfaceMember] =
    &[method("Introspect", &[], &[("s", "xml_data")])];

const OBJECT_MANAGER_MEMBERS: &[InterfaceMember] = &[
    method(
        "GetManagedObjects",
        &[],
        &[("a{oa{sa{sv}}}", "objpath_interfaces_and_properties")],
    ),
    signal(
        "InterfacesAdded",
        &[
            ("o", "object_path"),
            ("a{sa{sv}}", "interfaces_and_properties"),
        ],
    ),
    signal(
        "InterfacesRemoved",
        &[("o", "object_path"), ("as", "interfaces")],
    ),
];

const PROPERTIES_MEMBERS: &[InterfaceMember] = &[
    method(
        "Get",
        &[("s", "interface_name"), ("s", "property_name")],
        &[("v", "value")],
    ),
    method(
        "Set",
        &[
            ("s", "interface_name"),
            ("s", "property_name"),
            ("v", "value"),
        ],
        &[],
    ),
    method("GetAll", &[("s", "interface_name")], &[("a{sv}", "props")]),
    signal(
        "PropertiesChanged",
        &[
            ("s", "interface_name"),
            ("a{sv}", "changed_properties"),
            ("as", "invalidated_properties"),
        ],
    ),
];

const MANDOS_MEMBERS: &[InterfaceMember] = &[
    method("RemoveClient", &[("o", "object_path")], &[]),
    deprecated(method("GetAllClients", &[], &[("ao", "")])),
    deprecated(method(
        "GetAllClientsWithProperties",
        &[],
        &[("a{oa{sv}}", "")],
    )),
    signal("ClientAdded", &[("o", "objpath")]),
    signal("ClientNotFound", &[("s", "key_id"), ("s", "address")]),
    deprecated(signal("ClientRemoved", &[("o", "objpath"), ("s", "name")])),
];

const CLIENT_MEMBERS: &[InterfaceMember] = &[
    method("Approve", &[("b", "value")], &[]),
    method("CheckedOK", &[], &[]),
    deprecated(method("Enable", &[], &[])),
    deprecated(method("Disable", &[], &[])),
    deprecated(method("StartChecker", &[], &[])),
    deprecated(method("StopChecker", &[], &[])),
    signal(
        "CheckerCompleted",
        &[("n", "exitcode"), ("x", "waitstatus"), ("s", "command")],
    ),
    signal("CheckerStarted", &[("s", "command")]),
    signal("GotSecret", &[]),
    signal("NeedApproval", &[("t", "timeout"), ("b", "default")]),
    signal("Rejected", &[("s", "reason")]),
    deprecated(signal(
        "PropertyChanged",
        &[("s", "property"), ("v", "value")],
    )),
];

/// The document of `/`, with the names of its child objects.
pub fn root<'c>(children: impl IntoIterator<Item = &'c str>) -> String {
    let mut xml = begin();
    interface(&mut xml, INTROSPECTABLE, INTROSPECTABLE_MEMBERS);
    interface(&mut xml, OBJECT_MANAGER, OBJECT_MANAGER_MEMBERS);
    for name in [MANDOS, MANDOS_OLD] {
        open(&mut xml, name);
        members(&mut xml, MANDOS_MEMBERS);
        close(&mut xml, name == MANDOS_OLD);
    }
    end(xml, children)
}

/// The document of `/clients` or any other object without an interface, with the names of its child
/// objects.
pub fn parent<'c>(children: impl IntoIterator<Item = &'c str>) -> String {
    end(begin(), children)
}

/// The document of a client's object.
pub fn client() -> String {
    let mut xml = begin();
    interface(&mut xml, INTROSPECTABLE, INTROSPECTABLE_MEMBERS);
    interface(&mut xml, PROPERTIES, PROPERTIES_MEMBERS);
    for name in [CLIENT, CLIENT_OLD] {
        open(&mut xml, name);
        members(&mut xml, CLIENT_MEMBERS);
        Property::all().for_each(|each| property(&mut xml, each));
        close(&mut xml, name == CLIENT_OLD);
    }
    open(&mut xml, NIGHTLATCH_CLIENT);
    Property::own().for_each(|each| property(&mut xml, each));
    close(&mut xml, false);
    end(xml, [])
}

fn begin() -> String {
    format!("{DOCTYPE}<node>\n")
}

/// Children's names are made of letters, digits and `_` and need no escape.
fn end<'c>(mut xml: String, children: impl IntoIterator<Item = &'c str>) -> String {
    for child in children {
        add(&mut xml, format_args!("  <node name=\"{child}\"/>\n"));
    }
    xml.push_str("</node>\n");
    xml
}

fn interface(xml: &mut String, name: &str, of: &[InterfaceMember]) {
    open(xml, name);
    members(xml, of);
    close(xml, false);
}

fn open(xml: &mut String, name: &str) {
    add(xml, format_args!("  <interface name=\"{name}\">\n"));
}

fn close(xml: &mut String, is_deprecated: bool) {
    if is_deprecated {
        annotation(xml, "    ", DEPRECATED, "true");
    }
    xml.push_str("  </interface>\n");
}

fn members(xml: &mut String, of: &[InterfaceMember]) {
    for member in of {
        let element = if member.is_signal { "signal" } else { "method" };
        add(
            xml,
            format_args!("    <{element} name=\"{}\">\n", member.name),
        );
        for argument in member.takes {
            add_argument(xml, " direction=\"in\"", argument);
        }
        for argument in member.gives {
            let direction = if member.is_signal {
                ""
            } else {
                " direction=\"out\""
            };
            add_argument(xml, direction, argument);
        }
        if member.is_deprecated {
            annotation(xml, "      ", DEPRECATED, "true");
        }
        add(xml, format_args!("    </{element}>\n"));
    }
}

fn add_argument(xml: &mut String, direction: &str, (kind, name): &Argument) {
    add(xml, format_args!("      <arg{direction} type=\"{kind}\""));
    if !name.is_empty() {
        add(xml, format_args!(" name=\"{name}\""));
    }
    xml.push_str("/>\n");
}

fn property(xml: &mut String, property: Property) {
    add(
        xml,
        format_args!(
            "    <property name=\"{}\" type=\"{}\" access=\"{}\">\n",
            property.name(),
            property.kind().signature(),
            property.access().as_str()
        ),
    );
    match property.emits() {
        Emits::Value => {}
        Emits::Invalidates => annotation(xml, "      ", EMITS, "invalidates"),
        Emits::Const => annotation(xml, "      ", EMITS, "const"),
        Emits::Never => annotation(xml, "      ", EMITS, "false"),
    }
    if property.is_deprecated() {
        annotation(xml, "      ", DEPRECATED, "true");
    }
    xml.push_str("    </property>\n");
}

fn annotation(xml: &mut String, indent: &str, name: &str, value: &str) {
    add(
        xml,
        format_args!("{indent}<annotation name=\"{name}\" value=\"{value}\"/>\n"),
    );
}

fn add(xml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = xml.write_fmt(text);
}
