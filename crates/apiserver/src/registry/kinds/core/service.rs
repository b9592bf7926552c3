//! Services: cluster IPs and node ports are allocated here.

use machinery::field::Errors;
use machinery::{names, status::Status};
use serde_json::{Value, json};

use super::super::value::put;
use super::{service_columns, service_rules, service_status, service_update, service_warnings};
use crate::registry::admission::AdmissionContext;
use crate::registry::strategy::Strategy;

/// The strategy of Services.
pub struct Service;

#[async_trait::async_trait]
impl Strategy for Service {
    fn name_errors(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
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

    async fn release(&self, context: &AdmissionContext<'_>, gone: &Value, kept: Option<&Value>) {
        context.registry.allocators().release(context.registry, gone, kept).await;
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
        if let Some(spec) = object.get_mut("spec") {
            service_update::one_address(spec, None);
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        service_update::prepare(object, old);
    }

    fn prepare_for_status_update(&self, object: &mut Value, _old: &Value) {
        service_status::prepare(object);
    }

    fn validate_create(&self, object: &Value) -> Errors {
        service_rules::validate(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        let mut errors = service_update::validate(object, old);
        errors.extend(service_rules::validate(object, Some(old)));
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        service_status::validate(object, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        service_warnings::warnings(object)
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        Some(service_columns::row(object, now))
    }
}
