#!/usr/bin/env bash
# generate.sh LANGUAGE... makes the clients of the OpenAPI document anew. Each
# language has a directory here, a function below that pins its generator and
# says with which options it runs, and a README that begins with lines that work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Generators that cannot read 3.1 as well read this.
readonly document=openapi/openapi-3.0.yaml
# One type an answer and one a body, for those that choke on alternatives.
readonly simple=openapi/openapi-clients.yaml

readonly generator_version=7.25.0
readonly generator_sha256=41ce4f6b07f196676439d710759fa1ced7a08066d06ff1bf314681470289efae

# Nothing half made stays behind.
work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT

# oapi-codegen is pinned by tools/oapi-codegen.mod.
generate_go() {
	CGO_ENABLED=0 go tool -modfile=tools/oapi-codegen.mod oapi-codegen \
		-config openapi/clients/go/oapi-codegen.yaml "$document"
	# As it comes, a file that is JSON, or a part of one, is a refusal.
	sed -i 's/"json") && true:/"json") \&\& rsp.StatusCode >= http.StatusBadRequest:/' openapi/clients/go/plantdb.gen.go
	# As it comes, another server is no error, and nobody one that does not say what to do.
	sed -i 's/return c\.Client\.Do(req)/return answered(c.Client.Do(req))/' openapi/clients/go/plantdb.gen.go
	sed -i '/^\t\tHTTPResponse: rsp,$/{n;n;n;s/^\tswitch {$/\tswitch {\n\tcase isElsewhere(rsp, bodyBytes):\n\t\tresponse.JSONDefault = elsewhere(rsp)\n/}' openapi/clients/go/plantdb.gen.go
	[[ $(grep -c 'HTTPResponse: rsp,' openapi/clients/go/plantdb.gen.go) == $(grep -c 'case isElsewhere(rsp, bodyBytes):' openapi/clients/go/plantdb.gen.go) ]] ||
		{ echo "generate.sh: the Go client reads its answers in another way" >&2; exit 1; }
	go test ./openapi/clients/go -run '^TestSum$' -count=1 -args -write >/dev/null
}

# openapi-generator reads the document into $work; OPTION... are its own.
openapi_generator() {
	local dir=${XDG_CACHE_HOME:-$HOME/.cache}/plantdb-test/openapi-generator
	local jar=$dir/openapi-generator-cli-$generator_version.jar
	if ! sha256sum --status --check <<<"$generator_sha256  $jar" 2>/dev/null; then
		mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -DoutputDirectory="$dir" \
			-Dartifact=org.openapitools:openapi-generator-cli:$generator_version
		sha256sum --quiet --check <<<"$generator_sha256  $jar"
	fi
	java -jar "$jar" generate --input-spec "$simple" --output "$work" "$@" \
		--global-property apis,models,supportingFiles,apiDocs=false,apiTests=false,modelDocs=false,modelTests=false \
		>"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
}

# Without disallow...=false an answer that has grown would be refused.
generate_python() {
	openapi_generator --generator-name python --additional-properties packageName=plantdb_api,packageVersion=0.17.0 \
		--additional-properties generateSourceCodeOnly=true,mapNumberTo=float,disallowAdditionalPropertiesIfNotPresent=false
	touch "$work/plantdb_api/py.typed" # the types are for programs that use it, too
	# As it comes, a page of another server is a list of its characters.
	amend "$work/plantdb_api/api_client.py" '^        # deserialize response data$' python/elsewhere.py
	# As it comes, a header is found in one spelling only.
	local answer=$work/plantdb_api/api_response.py
	sed -i 's/Optional\[Mapping\[str, str\]\]/Optional[SkipValidation[Mapping[str, str]]]/; s/^from pydantic import /&SkipValidation, /' "$answer"
	[[ $(grep -c SkipValidation "$answer") == 2 ]] || { echo "generate.sh: $answer has its headers in another way" >&2; exit 1; }
	# As it comes, nobody is an exception of urllib3 without advice.
	local rest=$work/plantdb_api/rest.py
	amend "$rest" '^class RESTResponse\(io\.IOBase\):$' python/no_answer.py
	sed -i -E '/^        except urllib3\.exceptions\.SSLError as e:$/,/^            raise ApiException\(status=0, reason=msg\)$/c\        except urllib3.exceptions.HTTPError as e:\n            raise no_answer(e) from e' "$rest"
	sed -i -E 's/^            self\.data = self\.response\.data$/            try:\n                self.data = self.response.data\n            except urllib3.exceptions.HTTPError as e:\n                raise no_answer(e) from e/' "$rest"
	[[ $(grep -c 'raise no_answer(e) from e' "$rest") == 2 ]] || { echo "generate.sh: $rest asks in another way" >&2; exit 1; }
	# As it comes, a file that is cut short while it is read is sent as whole.
	local call=$work/plantdb_api/api_client.py line='^                    filedata = f\.read\(\)$'
	amend "$call" "$line" python/whole.py
	sed -i -E "/^                        \)\)$/{n;/$line/d}" "$call"
	[[ $(grep -cE "$line" "$call") == 1 ]] || { echo "generate.sh: $call reads its files in another way" >&2; exit 1; }
	replace python plantdb_api "$work/plantdb_api" openapi/clients/python/elsewhere.py openapi/clients/python/no_answer.py openapi/clients/python/whole.py
}

generate_java() {
	openapi_generator --generator-name java --library native --template-dir openapi/clients/java/templates \
		--additional-properties invokerPackage=io.github.romi.plantdb,apiPackage=io.github.romi.plantdb.api \
		--additional-properties modelPackage=io.github.romi.plantdb.model,enumUnknownDefaultCase=true \
		--additional-properties useJakartaEe=true,openApiNullable=false,hideGenerationTimestamp=true
	# As it comes, texts in forms are Latin-1, and a null in a map, by which a key
	# of the metadata is removed, is not sent.
	local sources=$work/src/main/java/io/github/romi/plantdb
	local utf8='org.apache.http.entity.ContentType.TEXT_PLAIN.withCharset(java.nio.charset.StandardCharsets.UTF_8)'
	local nulls='JsonInclude.Value.construct(JsonInclude.Include.NON_NULL, JsonInclude.Include.ALWAYS)'
	sed -i -E "s/(multiPartBuilder\.addTextBody\(.*)\);/\1, $utf8);/" "$sources"/api/*.java
	sed -i "s/setSerializationInclusion(JsonInclude.Include.NON_NULL)/setDefaultPropertyInclusion($nulls)/" "$sources"/ApiClient.java
	# As it comes, a page of another server is taken for a file.
	sed -i 's|if (localVarResponse.statusCode()/ 100 != 2) {|if (localVarResponse.statusCode() / 100 != 2 \|\| ApiException.isPage(localVarResponse.headers())) {|' "$sources"/api/*.java
	sed -i 's|return new ApiException(response.statusCode(), message, response.headers(), body);|return new ApiException(response.statusCode(), message, response.headers(), body, response.uri());|' "$sources"/api/*.java
	# As it comes, a file that is cut short under way ends a good form, and is kept.
	cp openapi/clients/java/templates/Upload.java "$sources"
	sed -i -E 's/multiPartBuilder\.addBinaryBody\((".*"), (.*)\);/multiPartBuilder.addPart(\1, io.github.romi.plantdb.Upload.file(\2));/' "$sources"/api/*.java
	sed -i '/^        Pipe pipe;$/,/Channels\.newInputStream/c\        formDataPublisher = new io.github.romi.plantdb.Upload(entity);' "$sources"/api/*.java
	[[ $(grep -hcE 'addBinaryBody|printStackTrace' "$sources"/api/*.java | sort -u) == 0 ]] || { echo "generate.sh: $sources/api sends its files in another way" >&2; exit 1; }
	# As it comes, null is to be said for all that is optional.
	local api
	for api in "$sources"/api/*.java; do
		awk -f openapi/clients/java/overloads.awk "$api" >"$work/api.java"
		mv "$work/api.java" "$api"
	done
	replace java src/main/java "$work/src/main/java" openapi/clients/java/templates openapi/clients/java/overloads.awk
}

# openapi-ts is pinned by tools/openapi-ts, and its options are in openapi-ts.config.mjs.
generate_typescript() {
	[[ -x tools/openapi-ts/node_modules/.bin/openapi-ts ]] || npm ci --silent --prefix tools/openapi-ts
	DOCUMENT=$PWD/$simple OUTPUT=$work/src tools/openapi-ts/node_modules/.bin/openapi-ts \
		-f openapi/clients/typescript/openapi-ts.config.mjs >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
	# fetch accepts anything, and then events are a stream without an end.
	sed -i "s|url: '/api/v1/events',|headers: {Accept: 'application/json'}, &|" "$work/src/sdk.gen.ts"
	# As it comes, a page of another server is data, and its refusal a text.
	local call=$work/src/client/client.gen.ts
	sed -i -E 's|^    if \(response\.ok\) \{$|    if (response.ok \&\& !isPage(response)) {|; s|jsonError \?\? textError|isProblem(jsonError) ? jsonError : elsewhere(response, textError)|' "$call"
	sed -i -E 's|^      let finalError = error;$|      let finalError: unknown = await noAnswer(request, opts.body, error);|' "$call"
	# As it comes, an answer that breaks off is thrown, also to who asked for errors.
	sed -i -E "s|^      let data: any;\$|&\n      let broken: unknown;\n      const lost = (error: unknown): any => {\n        broken = brokeOff(response, error);\n      };|" "$call"
	sed -i -E 's/^( +)data = await response\[parseAs\]\(\);$/\1data = await (response[parseAs]() as Promise<unknown>).catch(lost);/; s/^( +)const text = await response\.text\(\);$/\1const text: string | undefined = await response.text().catch(lost);/' "$call"
	sed -i -E 's/^( +)const textError = await response\.text\(\);$/\1const textError = await response.text().catch((error) => JSON.stringify(brokeOff(response, error)));/' "$call"
	amend "$call" "^      if \(parseAs === 'json'\) \{$" typescript/broken.ts
	[[ $(grep -cE 'catch\(lost\)|brokeOff\(response, error\)' "$call") == 4 ]] || { echo "generate.sh: $call reads its answers in another way" >&2; exit 1; }
	cat openapi/clients/typescript/elsewhere.ts >>"$call"
	replace typescript src "$work/src" openapi/clients/typescript/elsewhere.ts \
		openapi/clients/typescript/broken.ts openapi/clients/typescript/openapi-ts.config.mjs tools/openapi-ts/package-lock.json
}

# amend FILE PATTERN SNIPPET puts a snippet of ours before the one line that
# matches; a generator that writes another line is to be looked at.
amend() {
	[[ $(grep -cE "$2" "$1") == 1 ]] || { echo "generate.sh: $1 has not one line $2" >&2; exit 1; }
	sed -i -E "/$2/{
		r openapi/clients/$3
		N
	}" "$1"
}

# replace LANGUAGE GENERATED NEW INPUT... puts what was made in its place, and
# writes into GENERATED.sum what it was made of, INPUT beside the document and
# this script: a test compares.
replace() {
	local dir=openapi/clients/$1 generated=$2 new=$3
	rm -rf "${dir:?}/$generated"
	mkdir -p "$(dirname "$dir/$generated")"
	mv "$new" "$dir/$generated"
	{
		local input
		for input in "$simple" openapi/clients/generate.sh "${@:4}"; do
			digest . "$input"
		done
		digest "$dir" "$generated"
	} >"$dir/GENERATED.sum"
}

# digest DIRECTORY NAME is one line for a file or all files below a directory.
digest() {
	if [[ -d $1/$2 ]]; then
		(cd "$1" && find "$2" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | sed "s|-|$2|"
	else
		(cd "$1" && sha256sum "$2")
	fi
}

for language in "$@"; do
	declare -F "generate_$language" >/dev/null || { echo "generate.sh: no client for $language" >&2; exit 2; }
	"generate_$language"
done
