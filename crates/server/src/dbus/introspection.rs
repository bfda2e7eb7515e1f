//! The introspection of `org.nightlatch.Nightlatch1`.

pub(super) const INTROSPECTION: &str = r#"<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect"><arg direction="out" type="s" name="xml_data"/></method>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg direction="in" type="s" name="interface_name"/>
      <arg direction="in" type="s" name="property_name"/>
      <arg direction="out" type="v" name="value"/>
    </method>
    <method name="Set">
      <arg direction="in" type="s" name="interface_name"/>
      <arg direction="in" type="s" name="property_name"/>
      <arg direction="in" type="v" name="value"/>
    </method>
    <method name="GetAll">
      <arg direction="in" type="s" name="interface_name"/>
      <arg direction="out" type="a{sv}" name="props"/>
    </method>
  </interface>
  <interface name="org.nightlatch.Nightlatch1">
    <method name="AddClient">
      <arg direction="in" type="s" name="section"/>
      <arg direction="in" type="a{sv}" name="options"/>
      <arg direction="out" type="o" name="object_path"/>
    </method>
    <method name="Explain">
      <arg direction="in" type="s" name="name"/>
      <arg direction="out" type="a{sv}" name="explanation"/>
    </method>
    <method name="AllowRehearsals">
      <arg direction="in" type="s" name="client"/>
      <arg direction="in" type="t" name="seconds"/>
    </method>
    <method name="Trust"><arg direction="in" type="s" name="client"/></method>
    <method name="ListRequests">
      <arg direction="in" type="s" name="client"/>
      <arg direction="out" type="aa{sv}" name="requests"/>
    </method>
    <method name="Decide">
      <arg direction="in" type="t" name="number"/>
      <arg direction="in" type="b" name="approve"/>
    </method>
    <method name="PutSecret">
      <arg direction="in" type="s" name="client"/>
      <arg direction="in" type="ay" name="sealed"/>
      <arg direction="in" type="a{sv}" name="options"/>
    </method>
    <method name="RemoveSecret">
      <arg direction="in" type="s" name="client"/>
      <arg direction="in" type="s" name="name"/>
      <arg direction="in" type="t" name="serial"/>
    </method>
    <method name="ListSecrets">
      <arg direction="in" type="s" name="client"/>
      <arg direction="out" type="aa{sv}" name="secrets"/>
    </method>
    <method name="Reload">
      <arg direction="in" type="a{sv}" name="options"/>
    </method>
    <method name="QueryRecords">
      <arg direction="in" type="a{sv}" name="query"/>
      <arg direction="out" type="as" name="lines"/>
      <arg direction="out" type="t" name="next"/>
    </method>
    <signal name="Recorded"><arg type="s" name="line"/></signal>
    <property name="Version" type="s" access="read"/>
    <property name="KeyID" type="s" access="read"/>
    <property name="Addresses" type="as" access="read"/>
    <property name="Clients" type="a{su}" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="RecordHead" type="(ts)" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="RecordAnchor" type="(ts)" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="LogLevel" type="s" access="readwrite">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="Warnings" type="as" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
  </interface>
</node>
"#;
