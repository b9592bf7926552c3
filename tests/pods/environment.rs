//! Variables, commands made of them, and users.

use serde_json::{Value, json};

use super::{Talk, allocatable, bounds, hear, told};

fn from_key(name: &str, source: &str, key: &str) -> Value {
    json!({"name": name, "valueFrom": {source: {"name": "told", "key": key}}})
}

fn from_field(name: &str, field: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}})
}

fn from_resource(name: &str, resource: &str) -> Value {
    json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}})
}

/// Shows variables that begin with this, in order.
fn show(prefix: &str) -> String {
    format!("env | grep '^{prefix}' | busybox sort")
}

fn resources() -> Value {
    json!([
        from_resource("OWN_1", "limits.cpu"),
        from_resource("OWN_2", "limits.memory"),
        from_resource("OWN_3", "requests.cpu"),
        from_resource("OWN_4", "requests.memory"),
    ])
}

#[test]
fn maps_secrets_and_the_pod_itself_are_variables() {
    hear("variables", &told(), |cluster| {
        let (cpu, memory) = allocatable(cluster)?;
        let fields = json!([
            from_field("OWN_1", "metadata.name"),
            from_field("OWN_2", "metadata.namespace"),
            from_field("OWN_3", "status.podIP"),
            from_field("OWN_4", "status.hostIP"),
            from_field("OWN_5", "status.hostIPs"),
            from_field("OWN_6", "metadata.uid"),
        ]);
        let keys = json!([
            from_key("KEY_1", "configMapKeyRef", "data-1"),
            from_key("KEY_2", "secretKeyRef", "data-2")
        ]);
        let whole = json!([
            {"configMapRef": {"name": "told"}}, {"prefix": "map_", "configMapRef": {"name": "told"}},
            {"prefix": "secret_", "secretRef": {"name": "told"}},
        ]);
        let same = "data-1=value-1\ndata-2=value-2\nmap_data-1=value-1\nmap_data-2=value-2\nsecret_data-1=value-1\nsecret_data-2=value-2";
        Ok(vec![
            Talk::new("keys", &show("KEY_"), "KEY_1=value-1\nKEY_2=value-2")
                .container(json!({ "env": keys })),
            Talk::new("whole", "tr '\\000' '\\n' < /proc/1/environ | grep 'data-.=' | busybox sort", same)
                .container(json!({ "envFrom": whole })),
            Talk::new(
                "fields",
                &show("OWN_"),
                "OWN_1=fields\nOWN_2=default\nOWN_3={podIP}\nOWN_4={hostIP}\nOWN_5={hostIP}\nOWN_6={uid}",
            )
            .container(json!({ "env": fields })),
            Talk::new("bounded", &show("OWN_"), "OWN_1=2\nOWN_2=67108864\nOWN_3=1\nOWN_4=33554432")
                .container(json!({"env": resources(), "resources": bounds()})),
            Talk::new("unbounded", "echo $OWN_1 $OWN_2", &format!("{cpu} {memory}"))
                .container(json!({ "env": resources() })),
        ])
    });
}

#[test]
fn variables_are_made_of_others_and_so_are_commands() {
    hear("expansion", &[], |_| {
        let variables = json!([
            {"name": "FOO", "value": "foo-value"}, {"name": "BAR", "value": "bar-value"},
            {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
        ]);
        let test = json!([{"name": "TEST", "value": "test-value"}]);
        Ok(vec![
            Talk::new("composed", "echo $FOOBAR", "foo-value;;bar-value")
                .container(json!({ "env": variables })),
            Talk::new("command", "", "test-value").container(json!({
                "env": test, "command": ["sh", "-c", "TEST=wrong echo \"$(TEST)\""]})),
            Talk::new("arguments", "", "test-value").container(json!({
                "env": test, "command": ["sh", "-c"], "args": ["TEST=wrong echo \"$(TEST)\""]})),
        ])
    });
}

#[test]
fn containers_are_who_they_are_told_to_be() {
    hear("users", &[], |_| {
        let ids = "echo $(id -u) $(id -g)";
        let user = json!({"securityContext": {"runAsUser": 1001, "runAsGroup": 2002}});
        let link = "busybox ip link add dummy0 type dummy 2>&1 | grep -c 'not permitted'";
        Ok(vec![
            Talk::new("nobody", "id -u", "65534").container(json!({"securityContext": {"runAsUser": 65534}})),
            Talk::new("by-pod", ids, "1001 2002").spec(user.clone()),
            Talk::new("by-container", ids, "1001 2002").container(user),
            Talk::new("unprivileged", link, "1").container(json!({"securityContext": {"privileged": false}})),
            Talk::new("writable", "echo text > /file && cat /file", "text")
                .container(json!({"securityContext": {"readOnlyRootFilesystem": false}})),
            Talk::new("read-only", "(echo text > /file) 2> /dev/null; test -e /file || echo none", "none")
                .container(json!({"securityContext": {"readOnlyRootFilesystem": true}})),
            Talk::new("hosts", "grep 123.45.67.89 /etc/hosts | tr -s '\\t ' ' '", "123.45.67.89 foo bar")
                .spec(json!({"hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]})),
        ])
    });
}
