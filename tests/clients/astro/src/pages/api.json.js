import { adminDb } from "@run402/functions";

export const prerender = false;

export const POST = async ({ request }) => {
  const { n } = await request.json();
  const { rows } = await adminDb().sql("select $1::int * 2 as twice", [n]);
  return Response.json(rows[0]);
};
