//! Services: cluster IPs and node ports are allocated here.

use machinery::field::Errors;
use machinery::{names, status::Status};
use serde_json::{Value, json};

use super::super::value::put;
use super::{service_columns, service_rules};
use crate::registry::admission::AdmissionContext;
use crate::registry::strategy::Strategy;

/// The strategy of Services.
pub struct Service;

#[async_trait::async_trait]
impl Strategy for Service {
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::dns1035_label(name)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    async fn admit(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        context.registry.allocators().allocate(context, object, old).await
    }

    async fn after_delete(&self, context: &AdmissionContext<'_>, object: &Value) {
        context.registry.allocators().release(object);
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        vec![("spec.clusterIP", text("/spec/clusterIP")), ("spec.type", text("/spec/type"))]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn default(&self, object: &mut Value) {
        service_rules::default(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        put(object, "status", json!({"loadBalancer": {}}));
    }

    fn validate(&self, object: &Value) -> Errors {
        service_rules::validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        service_rules::validate_update(object, old)
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(service_columns::row(object, now))
    }
}
