// Read by generate.sh, which says where the generator and its input are.
export default {
	input: process.env.DOCUMENT,
	output: {path: process.env.OUTPUT, module: {extension: '.js'}},
	plugins: [
		{name: '@hey-api/client-fetch', includeInEntry: true},
		'@hey-api/typescript',
		'@hey-api/sdk',
	],
	logs: {level: 'warn', file: false},
};
