# Gives each method of an API that takes something optional a second one, which
# takes only what is required.

{ print }

/^  public [^=]*\(.*@jakarta\.annotation\.Nullable.*\) throws ApiException \{$/ && !/Map<String, String> headers/ && !/WithHttpInfo\(/ {
	head = $0
	sub(/\(.*/, "", head)
	name = head
	sub(/.* /, "", name)
	rest = $0
	sub(/^[^(]*\(/, "", rest)
	sub(/\) throws ApiException \{$/, "", rest)
	gsub(/, @jakarta/, "\n@jakarta", rest)
	n = split(rest, parameters, "\n")
	taken = given = ""
	for (i = 1; i <= n; i++) {
		word = parameters[i]
		sub(/.* /, "", word)
		required = parameters[i] !~ /^@jakarta\.annotation\.Nullable/
		if (required) taken = taken (taken == "" ? "" : ", ") parameters[i]
		given = given (i == 1 ? "" : ", ") (required ? word : "null")
	}
	overload = "  /** The same, without what is optional. */\n" head "(" taken ") throws ApiException {\n" \
		"    " (head ~ / void / ? "" : "return ") name "(" given ");\n  }"
}

overload != "" && /^  \}$/ {
	print "\n" overload
	overload = ""
}
