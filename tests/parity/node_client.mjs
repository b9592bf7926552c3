// Upstream's Node client against a server: every kind of objects.yaml through KubernetesObjectApi, with an informer that has to
// see what happens, and the typed clients of the most used kinds.
//
// usage: node_client.mjs NODE_MODULES_DIR OBJECTS_YAML KUBECONFIG

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [directory, objectsFile, kubeconfigFile] = process.argv.slice(2);
// A script's own directory decides where packages are looked for; these are elsewhere.
const load = async (name) => import(pathToFileURL(createRequire(`${directory}/index.js`).resolve(name)));
const k8s = await load('@kubernetes/client-node');
const yaml = await load('js-yaml');

const SUITE = 'node';
const NUMBER = '2';
const NAMESPACE = `parity-${SUITE}`;
const LABEL = 'parity.example.com/suite';
const SELECTOR = `${LABEL}=${SUITE}`;
const LIMIT_MS = 60_000;
const { MergePatch, StrategicMergePatch, ServerSideApply, JsonPatch } = k8s.PatchStrategy;

const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfigFile);
const api = k8s.KubernetesObjectApi.makeApiClient(config);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

class Failed extends Error {}

function expect(condition, what) {
    if (!condition) throw new Failed(what());
}

const shown = (value) => JSON.stringify(value);

async function refused(code, words, call) {
    let answer;
    try {
        answer = await call();
    } catch (error) {
        expect(error.code === code && String(error.body).includes(words), () => `wanted ${code} ${words}, got ${error.code} ${error.body ?? error}`);
        return;
    }
    throw new Failed(`wanted ${code} ${words}, got ${shown(answer)}`);
}

async function until(condition, what) {
    const deadline = Date.now() + LIMIT_MS;
    while (!condition()) {
        expect(Date.now() < deadline, what);
        await new Promise((done) => setTimeout(done, 10));
    }
}

/// Each object with its versions spread out, for this suite.
function* rows() {
    const text = readFileSync(objectsFile, 'utf8').replaceAll('{suite}', SUITE).replaceAll('{n}', NUMBER);
    for (const row of yaml.load(text)) {
        const [version, group] = row.object.apiVersion.split('/').reverse();
        for (const each of [version, ...(row.also ?? [])]) {
            const spread = structuredClone(row);
            spread.object.apiVersion = group ? `${group}/${each}` : each;
            spread.object.metadata.labels = { [LABEL]: SUITE };
            yield spread;
        }
    }
}

/// One kind through all verbs.
class Walk {
    constructor(row) {
        this.row = row;
        this.object = row.object;
        this.told = [];
    }

    async *run() {
        try {
            await this.follow();
        } catch (error) {
            yield `${this.object.apiVersion} ${this.object.kind}: follow: ${says(error)}`;
            return;
        }
        const steps = ['dryRun', 'create', 'read', 'mergePatch', 'strategicPatch', 'replace', 'apply', 'remove', 'followed'];
        for (const step of steps) {
            try {
                await this[step]();
            } catch (error) {
                yield `${this.object.apiVersion} ${this.object.kind}: ${step}: ${says(error)}`;
            }
        }
        await this.informer.stop();
    }

    /// An informer that remembers what it is told.
    async follow() {
        const { apiVersion, kind } = this.object;
        const resource = await api.resource(apiVersion, kind);
        expect(resource, () => 'not in discovery');
        this.where = resource.namespaced ? { namespace: NAMESPACE } : {};
        Object.assign(this.object.metadata, this.where);
        const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
        const path = resource.namespaced ? `${base}/namespaces/${NAMESPACE}/${resource.name}` : `${base}/${resource.name}`;
        const list = () => api.list(apiVersion, kind, this.where.namespace, undefined, undefined, undefined, undefined, SELECTOR);
        this.informer = k8s.makeInformer(config, path, list, SELECTOR);
        for (const verb of ['add', 'update', 'delete']) this.informer.on(verb, () => this.told.push(verb));
        this.informer.on('error', (error) => this.told.push(`error ${error}`));
        await this.informer.start();
    }

    header(more = {}) {
        const { apiVersion, kind, metadata } = this.object;
        return { apiVersion, kind, metadata: { name: metadata.name, ...this.where, ...more } };
    }

    async patch(change, strategy, manager, force) {
        const { metadata, ...rest } = change;
        return api.patch({ ...this.header(metadata), ...rest }, undefined, undefined, manager, force, strategy);
    }

    async dryRun() {
        const made = await api.create(structuredClone(this.object), undefined, 'All');
        expect(made.metadata.uid, () => `no uid in ${shown(made)}`);
        await refused(404, 'NotFound', () => api.read(this.header()));
    }

    async create() {
        const made = await api.create(structuredClone(this.object), undefined, undefined, 'maker');
        expect(made.metadata.creationTimestamp && made.metadata.resourceVersion, () => shown(made));
        expect(made.kind === this.object.kind && made.apiVersion === this.object.apiVersion, () => shown(made));
        await refused(409, 'AlreadyExists', () => api.create(structuredClone(this.object)));
        await until(() => this.told.length > 0, () => `the informer was told ${this.told}`);
        expect(this.told[0] === 'add', () => `the informer was told ${this.told}`);
    }

    async read() {
        const one = await api.read(this.header());
        expect(one.metadata.name === this.object.metadata.name, () => shown(one));
        const { apiVersion, kind } = this.object;
        const listed = await api.list(apiVersion, kind, this.where.namespace, undefined, undefined, undefined, undefined, SELECTOR, 1);
        expect(listed.items.length === 1 && listed.items[0].metadata.uid === one.metadata.uid, () => shown(listed));
    }

    async mergePatch() {
        const got = await this.patch({ ...this.row.change, metadata: { labels: { merge: 'yes' } } }, MergePatch);
        expect(got.metadata.labels.merge === 'yes', () => shown(got));
    }

    async strategicPatch() {
        const got = await this.patch({ metadata: { annotations: { strategic: 'yes' } } }, StrategicMergePatch);
        expect(got.metadata.annotations.strategic === 'yes', () => shown(got));
    }

    async replace() {
        for (let attempt = 0; ; attempt++) {
            const one = await api.read(this.header());
            one.metadata.labels.replace = 'yes';
            try {
                const got = await api.replace(one);
                expect(got.metadata.labels.replace === 'yes', () => shown(got));
                break;
            } catch (error) {
                // A controller may write in between.
                if (error.code !== 409 || attempt > 9) throw error;
            }
        }
        const stale = await api.read(this.header());
        stale.metadata.resourceVersion = '1';
        await refused(409, 'the object has been modified', () => api.replace(stale));
    }

    async apply() {
        const mine = { metadata: { labels: { apply: 'yes' } } };
        const applied = await this.patch(mine, ServerSideApply, 'applier');
        expect(applied.metadata.labels.apply === 'yes', () => shown(applied));
        const entry = applied.metadata.managedFields.find((managed) => managed.manager === 'applier');
        expect(entry?.operation === 'Apply', () => shown(applied.metadata.managedFields));
        const taken = { metadata: { labels: { merge: 'mine' } } };
        await refused(409, '.metadata.labels.merge', () => this.patch(taken, ServerSideApply, 'other'));
        const forced = await this.patch(taken, ServerSideApply, 'other', true);
        expect(forced.metadata.labels.merge === 'mine', () => shown(forced));
        const gone = await this.patch({}, ServerSideApply, 'applier');
        expect(!('apply' in gone.metadata.labels), () => shown(gone));
    }

    async remove() {
        await api.delete(this.header(), undefined, undefined, undefined, undefined, 'Background');
    }

    async followed() {
        await until(() => this.told.includes('delete'), () => `the informer was told ${this.told}`);
        expect(this.told.includes('update') && !this.told.some((word) => word.startsWith('error')), () => `the informer was told ${this.told}`);
        expect(this.informer.list().length === 0, () => `the informer has ${shown(this.informer.list())}`);
        await refused(404, 'NotFound', () => api.read(this.header()));
    }
}

/// CoreV1Api: typed objects there and back, pages, patches of each type, a collection's deletion.
async function typedCore() {
    for (let i = 0; i < 3; i++) {
        const body = { metadata: { name: `typed-${i}`, labels: { typed: 'yes' } }, data: { i: `${i}` } };
        await core.createNamespacedConfigMap({ namespace: NAMESPACE, body });
    }
    const page = await core.listNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'typed=yes', limit: 2 });
    const rest = await core.listNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'typed=yes', limit: 2, _continue: page.metadata._continue });
    expect(page.items.length === 2 && rest.items.length === 1 && !rest.metadata._continue, () => `${shown(page)} ${shown(rest)}`);
    const patches = [
        [JsonPatch, [{ op: 'replace', path: '/data/i', value: 'json' }], 'json'],
        [MergePatch, { data: { i: 'merge' } }, 'merge'],
        [StrategicMergePatch, { data: { i: 'strategic' } }, 'strategic'],
        [ServerSideApply, { apiVersion: 'v1', kind: 'ConfigMap', data: { i: 'apply' } }, 'apply'],
    ];
    for (const [strategy, body, wanted] of patches) {
        const where = { name: 'typed-0', namespace: NAMESPACE, body };
        if (strategy === ServerSideApply) Object.assign(where, { fieldManager: 'typed', force: true });
        const got = await core.patchNamespacedConfigMap(where, k8s.setHeaderOptions('Content-Type', strategy));
        expect(got.data.i === wanted, () => shown(got));
    }
    await core.deleteCollectionNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'typed=yes' });
    const left = await core.listNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'typed=yes' });
    expect(left.items.length === 0, () => shown(left));
}

/// AppsV1Api: a Deployment, its scale and its status.
async function typedApps() {
    const labels = { typed: 'yes' };
    const spec = { replicas: 0, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'example.com/none:1' }] } } };
    const where = { name: 'typed', namespace: NAMESPACE };
    const made = await apps.createNamespacedDeployment({ namespace: NAMESPACE, body: { metadata: { name: 'typed' }, spec } });
    expect(made.spec.strategy.rollingUpdate.maxSurge === '25%' && made.metadata.creationTimestamp instanceof Date, () => shown(made));
    const scale = await apps.readNamespacedDeploymentScale(where);
    // The controller writes the status meanwhile: what it wrote is no matter.
    delete scale.metadata.resourceVersion;
    scale.spec.replicas = 1;
    const scaled = await apps.replaceNamespacedDeploymentScale({ ...where, body: scale });
    expect(scaled.spec.replicas === 1, () => shown(scaled));
    const read = await apps.readNamespacedDeployment(where);
    expect(read.spec.replicas === 1, () => shown(read));
    await apps.deleteNamespacedDeployment({ ...where, propagationPolicy: 'Foreground' });
    const deadline = Date.now() + LIMIT_MS;
    while ((await apps.listNamespacedDeployment({ namespace: NAMESPACE, fieldSelector: 'metadata.name=typed' })).items.length > 0) {
        expect(Date.now() < deadline, () => 'the Deployment deleted in the foreground is left');
        await new Promise((done) => setTimeout(done, 20));
    }
}

function says(error) {
    return error instanceof Failed ? error.message : `${error.code ?? error.name} ${error.body ?? error.stack}`;
}

await core.createNamespace({ body: { metadata: { name: NAMESPACE } } });
const failures = [];
let walked = 0;
for (const row of rows()) {
    for await (const failure of new Walk(row).run()) failures.push(failure);
    walked++;
}
for (const work of [typedCore, typedApps]) {
    try {
        await work();
    } catch (error) {
        failures.push(`${work.name}: ${says(error)}`);
    }
}
for (const failure of failures) console.log(failure);
console.log(`${walked} kinds, ${failures.length} failures`);
process.exit(failures.length > 0 ? 1 : 0);
