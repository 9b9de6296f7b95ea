// What a person does in Argo's UI, done in a browser without a window: node visit.js SETTINGS, which is JSON:
//
//	scenario   one of scenarios, below; what else it needs are settings of the same names
//	url        of Argo's server
//	chromium   the browser
//	patience   how many seconds one step may take
//	pictures   the directory that screenshots are written to
//	result     the file for what was seen, as JSON; .problems are requests that failed and errors on the browser's console
//
// A step that does not succeed ends it with an error and a last picture.
'use strict';

const {writeFileSync} = require('fs');
const {chromium} = require('playwright-core');

const settings = JSON.parse(process.argv[2]);
const {url, namespace, workflow} = settings;

// Chromium asks nobody but the server: it looks up no names, and does nothing of its own in the background.
const flags = [
	'--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
	'--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE ' + new URL(url).hostname,
];

// remembered is what the UI remembers of somebody who has been here before: no greeting, no explanations.
const remembered = {'modal/ftu': '"dismissed"', 'modal/version': '"v3.7"', 'FirstTimeUserPanel/ArtifactPanel': 'true'};

let page;

// until calls look until it returns something that is true, and returns that.
async function until(what, look) {
	const deadline = Date.now() + settings.patience * 1000;
	for (;;) {
		const found = await look();
		if (found) {
			return found;
		}
		if (Date.now() > deadline) {
			throw new Error(`${what}: not in ${settings.patience} s`);
		}
		await page.waitForTimeout(100);
	}
}

// watch notes what goes wrong without anybody seeing it on the page.
function watch(problems) {
	page.on('console', message => message.type() === 'error' && problems.push(`console: ${message.text()} (${message.location().url})`));
	page.on('pageerror', error => problems.push(`error on the page: ${error.stack || error}`));
	page.on('response', response => response.status() >= 400 && problems.push(`${response.request().method()} ${response.url()}: ${response.status()}`));
	page.on('requestfailed', request => { // a stream that the page has closed, and an answer that became a download, are aborted
		if (request.failure().errorText !== 'net::ERR_ABORTED') {
			problems.push(`${request.method()} ${request.url()}: ${request.failure().errorText}`);
		}
	});
	page.on('request', request => request.url().startsWith('http') && !request.url().startsWith(url + '/') && problems.push(`a request to elsewhere: ${request.url()}`));
}

const picture = name => page.screenshot({path: `${settings.pictures}/${name}.png`, animations: 'disabled'});

const openWorkflow = more => page.goto(`${url}/workflows/${namespace}/${workflow}${more || ''}`);

// phases are the phases of the nodes in the graph, by display name.
const phases = () =>
	page.evaluate(() => {
		const found = {};
		for (const node of document.querySelectorAll('.graph g.node')) {
			const name = /\((.*)\)\s*$/.exec(node.parentElement.querySelector('title').textContent);
			const phase = ['Pending', 'Running', 'Suspended', 'Succeeded', 'Failed', 'Error', 'Skipped', 'Omitted'].filter(known => node.classList.contains(known));
			if (phase.length) {
				found[name[1]] = phase.join(' ');
			}
		}
		return found;
	});

// selectNode clicks on a node of the graph and waits for its panel.
async function selectNode(name) {
	const node = page.locator('.graph g', {has: page.locator(`xpath=./*[local-name()="title" and contains(., "(${name})")]`)}).last();
	await node.locator('g.node').click({force: true}); // one that waits or runs never stands still
	await page.locator('.workflow-node-info').waitFor();
	// The panel slides in, and the graph makes room.
	await page.locator('.workflow-details__step-info').evaluate(panel => Promise.all(panel.getAnimations().map(animation => animation.finished)));
}

const tab = name => page.locator('.workflow-node-info .tabs__nav a', {hasText: name}).click();

const button = name => page.locator('.workflow-node-info button', {hasText: name});

// table is the list of Workflows: of each row the cells by their titles.
const table = () =>
	page.evaluate(() => {
		const cells = row => [...row.querySelectorAll(':scope > .columns')].map(cell => cell.innerText.trim());
		const titles = [...document.querySelectorAll('.argo-table-list__head > .row')].flatMap(cells);
		return [...document.querySelectorAll('.argo-table-list__row > .row')].map(row => Object.fromEntries(cells(row).map((cell, i) => [titles[i], cell])));
	});

// awaitRows waits until the list has so many rows, with a column of that name, and returns name and value of each.
const awaitRows = (rows, column) =>
	until(`${rows} Workflows with column ${column}`, async () => {
		const found = await table();
		return found.length === rows && found.every(row => row.NAME && row[column]) && Object.fromEntries(found.map(row => [row.NAME, row[column]]));
	});

const logLines = () => page.evaluate(() => [...document.querySelectorAll('.xterm-rows > div')].map(row => row.textContent.replace(/\u00a0/g, ' ').trim()).filter(line => line));

// showLog opens the log of a node of the graph.
async function showLog(node) {
	await selectNode(node);
	await button('LOGS').first().click();
	await page.locator('.workflow-logs-viewer').waitFor();
}

const scenarios = {
	// list reads a column of the list, filters the list by a label as a person types it, and takes the filter back.
	async list({rows, column, label, filtered}) {
		await page.goto(`${url}/workflows/${namespace}`);
		const all = await awaitRows(rows, column);
		await picture('ui-list');
		const input = page.locator('.wf-filters-container .tags-input input');
		await input.fill(label);
		await input.press('Enter');
		const some = await awaitRows(filtered, column);
		await picture('ui-filter');
		await page.locator('.wf-filters-container .tags-input__tag i').click();
		return {all, some, again: await awaitRows(rows, column)};
	},

	// graph looks at the graph of a Workflow that runs until the node of its own name has ended, and returns each node's phases in their order. It
	// makes the file sign when one is shown as running. The picture is of the moment when a node has come.
	async graph({runs, comes, sign}) {
		let pages = 0;
		page.on('request', request => request.isNavigationRequest() && pages++);
		await openWorkflow();
		const seen = {};
		let taken;
		await until(`${workflow} ends`, async () => {
			const now = await phases();
			for (const [node, phase] of Object.entries(now)) {
				seen[node] = seen[node] || [];
				if (seen[node].at(-1) !== phase) {
					seen[node].push(phase);
				}
			}
			if (now[runs] === 'Running') {
				writeFileSync(sign, '');
			}
			if (!taken && now[comes]) {
				taken = await picture('ui-graph');
			}
			return ['Succeeded', 'Failed', 'Error'].includes(now[workflow]);
		});
		return {phases: seen, pages};
	},

	// node opens everything that there is of a node that has ended, and returns its summary, what the other views say, and the rows of the list of events
	// as soon as one says event.
	async node({node, event}) {
		await openWorkflow();
		await selectNode(node);
		const cells = await page.locator('.workflow-node-info .workflow-details__attribute-grid > div').allInnerTexts();
		const summary = Object.fromEntries(cells.flatMap((cell, i) => (i % 2 ? [[cells[i - 1].trim(), cell.trim()]] : [])));
		await picture('ui-node');
		await tab('CONTAINERS');
		const container = await page.locator('.workflow-node-info__containers').innerText();
		await tab('SUMMARY');
		await button('MANIFEST').click();
		await page.locator('.sliding-panel--opened .monaco-editor .view-line', {hasText: node}).first().waitFor();
		await page.goto(`${url}/workflows/${namespace}/${workflow}?tab=timeline`);
		await page.locator('.workflow-timeline', {hasText: node}).waitFor();
		await page.goto(`${url}/workflows/${namespace}/${workflow}?tab=summary`);
		await page.locator('.workflow-details__content', {hasText: 'Succeeded'}).waitFor();
		await page.goto(`${url}/workflows/${namespace}/${workflow}?tab=events`);
		const rows = page.locator('.workflow-details .argo-table-list__row');
		await rows.filter({hasText: event}).waitFor();
		await picture('ui-events');
		return {summary, container, events: await rows.allInnerTexts()};
	},

	// log reads the log of a node that has ended, until its last line is there.
	async log({node, last}) {
		const from = [];
		page.on('response', response => /\/(log|[a-z]+-logs)(\?|$)/.test(response.url()) && from.push(response.url().slice(url.length)));
		await openWorkflow();
		await showLog(node);
		const lines = await until(`the log of ${node}`, async () => {
			const shown = await logLines();
			return shown.includes(last) && shown;
		});
		await picture('ui-log');
		return {lines, from};
	},

	// follow looks on while the log of a node that runs grows, until its last line is there, and returns all states of it, each with the phase that the graph
	// had then. It makes the file sign when it has seen five.
	async follow({node, last, sign}) {
		await openWorkflow();
		await until(`${node} runs`, async () => (await phases())[node] === 'Running');
		await showLog(node);
		const states = [];
		await until(`the end of the log of ${node}`, async () => {
			const lines = await logLines();
			if (lines.length && lines.at(-1) !== states.at(-1)?.lines.at(-1)) { // the view has so many rows, and shows the last
				states.push({phase: (await phases())[node], lines});
				if (states.length === 5) {
					await picture('ui-live-log');
					writeFileSync(sign, '');
				}
			}
			return lines.includes(last);
		});
		return {states};
	},

	// artifact downloads an output of a node to a file.
	async artifact({node, artifact, file}) {
		await openWorkflow();
		await selectNode(node);
		await tab('INPUTS/OUTPUTS');
		const link = page.locator('.artifact-row', {hasText: artifact}).locator('a');
		await link.evaluate(icon => icon.closest('.white-box').scrollIntoView({block: 'end'}));
		await picture('ui-artifact');
		const [download] = await Promise.all([page.waitForEvent('download'), link.click()]);
		await download.saveAs(file);
		return {name: download.suggestedFilename()};
	},

	// resume presses the button of a node that waits for a person, and looks on until the Workflow has ended.
	async resume({node}) {
		await openWorkflow();
		await until(`${node} waits`, async () => ['Running', 'Running Suspended', 'Suspended'].includes((await phases())[node]));
		await selectNode(node);
		const before = await phases();
		await picture('ui-resume');
		await button('RESUME').click();
		await page.locator('.popup-container button', {hasText: 'OK'}).click();
		const after = await until(`${workflow} ends`, async () => {
			const now = await phases();
			return ['Succeeded', 'Failed', 'Error'].includes(now[workflow]) && now;
		});
		return {before, after};
	},
};

async function main() {
	const problems = [];
	const browser = await chromium.launch({executablePath: settings.chromium, chromiumSandbox: false, args: flags});
	try {
		const context = await browser.newContext({viewport: {width: 1600, height: 760}, acceptDownloads: true});
		context.setDefaultTimeout(settings.patience * 1000);
		await context.addInitScript(items => Object.entries(items).forEach(([key, value]) => localStorage.setItem(key, value)), remembered);
		page = await context.newPage();
		watch(problems);
		let seen;
		try {
			seen = await scenarios[settings.scenario](settings);
		} catch (error) {
			await picture('failed-' + settings.scenario).catch(() => {});
			throw new Error(`${error.stack}\nproblems: ${problems.join('\n')}\nthe page says: ${await page.innerText('body').catch(String)}`);
		}
		writeFileSync(settings.result, JSON.stringify({...seen, problems}));
	} finally {
		await browser.close();
	}
}

main().catch(error => {
	console.error(error.message);
	process.exit(1);
});
