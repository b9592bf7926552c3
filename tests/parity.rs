//! Upstream's clients, with their caches and patch logic, against one server: each takes every kind of `parity/objects.yaml`
//! through every verb. `docs/api-parity.md` says which test shows what; a test here writes it, and
//! another one looks at the tests that `docs/conformance.md` names.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "parity/conformance.rs"]
mod conformance;
#[path = "parity/kube_rs.rs"]
mod kube_rs;
#[path = "parity/objects.rs"]
mod objects;
#[path = "parity/page.rs"]
mod page;
#[path = "parity/server.rs"]
mod server;

use testkit::client;

use page::{KUBE_RS, KUBECTL, NODE, PYTHON};
use server::{SCRIPTS, Server};

#[test]
fn every_resource_has_an_object() {
    objects::complete();
}

#[test]
fn the_page_says_what_the_tests_show() {
    page::check();
}

#[test]
fn the_page_of_conformance_names_tests_that_there_are() {
    conformance::check();
}

#[test]
fn python_client() {
    let server = Server::get();
    let python = client("python").unwrap().join("bin/python");
    let kubeconfig = server.kubeconfig();
    server.run(&python, &[&format!("{SCRIPTS}/python_client.py"), objects::FILE, &kubeconfig]);
    server.has_served(PYTHON);
}

#[test]
fn node_client() {
    let server = Server::get();
    let node = client("node").unwrap();
    let (modules, kubeconfig) = (node.display().to_string(), server.kubeconfig());
    server.run(
        &node.join("bin/node"),
        &[&format!("{SCRIPTS}/node_client.mjs"), &modules, objects::FILE, &kubeconfig],
    );
    server.has_served(NODE);
}

#[test]
fn kube_rs_client() {
    let server = Server::get();
    server.host.in_network(|| kube_rs::run(&server.kubeconfig())).unwrap();
    server.has_served(KUBE_RS);
}

#[test]
fn kubectl_1_35() {
    kubectl("kubectl", "k35", "4");
}

#[test]
fn kubectl_1_33() {
    kubectl("kubectl-1.33", "k33", "5");
}

fn kubectl(version: &str, suite: &str, number: &str) {
    let server = Server::get();
    let python = client("python").unwrap().join("bin/python");
    let kubectl = client(version).unwrap().join("kubectl").display().to_string();
    let script = format!("{SCRIPTS}/kubectl.py");
    server.run(&python, &[&script, &kubectl, suite, number, objects::FILE, &server.kubeconfig()]);
    server.has_served(KUBECTL);
}

#[test]
fn helm() {
    let server = Server::get();
    let python = client("python").unwrap().join("bin/python");
    let [helm, kubectl] =
        [testkit::helm(), testkit::kubectl()].map(|path| path.unwrap().display().to_string());
    let (script, chart) = (format!("{SCRIPTS}/helm.py"), format!("{SCRIPTS}/chart"));
    server.run(&python, &[&script, &helm, &kubectl, &chart, &server.kubeconfig()]);
}
